"""Keep the remarks and progress bars of libraries off the terminal, by their own loggers, while a block runs.

What matters in these remarks is checked, and raised as an error, by the callers.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime
import transformers

_QUANTIZER = Path(onnxruntime.__file__).parent / "quantization"


@contextmanager
def transformers_quiet() -> Iterator[None]:
    """Keep off the remarks and the bars of transformers."""
    bars = transformers.logging
    with (
        _errors_only("transformers"),
        _off(bars.is_progress_bar_enabled, bars.disable_progress_bar, bars.enable_progress_bar),
    ):
        yield


@contextmanager
def datasets_quiet() -> Iterator[None]:
    """Keep off the remarks and the bars of datasets."""
    import datasets  # here: only what reads data needs it

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
    """Keep off what torch's exporter says about missing packages and axes that it merged."""
    with _errors_only("torch.onnx"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def quantizer_quiet() -> Iterator[None]:
    """Keep off the quantizer's advice to preprocess the graph: its fusions would make the quantizer skip products.

    onnxruntime 1.31 gives it through the root logger, so records are told apart by the file that they come from.
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
    """Switch something off that may be on."""
    was_on = is_on()
    disable()
    try:
        yield
    finally:
        if was_on:
            enable()
