"""Silence the messages and progress bars of libraries, through their own loggers, while a block runs.

Callers check for the problems behind these messages themselves, and raise them as errors.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path

import onnxruntime
import transformers

_QUANTIZER = Path(onnxruntime.__file__).parent / "quantization"


@contextmanager
def transformers_quiet() -> Iterator[None]:
    """Silence the messages and progress bars of transformers."""
    bars = transformers.logging
    with (
        _errors_only("transformers"),
        _off(bars.is_progress_bar_enabled, bars.disable_progress_bar, bars.enable_progress_bar),
    ):
        yield


@contextmanager
def datasets_quiet() -> Iterator[None]:
    """Silence the messages and progress bars of datasets."""
    import datasets  # imported here, because only reading data needs it

    with (
        _errors_only("datasets"),
        _off(
            lambda: not datasets.are_progress_bars_disabled(),
            datasets.disable_progress_bars,
            datasets.enable_progress_bars,
        ),
    ):
        yield


@contextmanager
def exporter_quiet() -> Iterator[None]:
    """Silence the messages of torch's exporter about missing packages and merged axes, and graphs that it prints."""
    with _errors_only("torch.onnx"), redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def quantizer_quiet() -> Iterator[None]:
    """Silence the quantizer's advice to preprocess the graph: the fusions would make the quantizer skip products.

    onnxruntime 1.31 logs it through the root logger, so records are filtered by their source file.
    """

    def is_of_others(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or not Path(record.pathname).is_relative_to(_QUANTIZER)

    root = logging.getLogger()
    root.addFilter(is_of_others)
    try:
        yield
    finally:
        root.removeFilter(is_of_others)


@contextmanager
def _errors_only(name: str) -> Iterator[None]:
    """Raise the level of one logger."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _off(is_on: Callable[[], bool], disable: Callable[[], None], enable: Callable[[], None]) -> Iterator[None]:
    """Switch something off for a while, and on again if it was on."""
    was_on = is_on()
    disable()
    try:
        yield
    finally:
        if was_on:
            enable()
