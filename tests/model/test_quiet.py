"""One library at a time is quiet: what others log gets through, and afterwards everything is as before."""

import logging
import warnings
from pathlib import Path

import datasets
import onnxruntime
import pytest
import transformers

from compressor.model import quiet

QUANTIZER = str(Path(onnxruntime.__file__).parent / "quantization" / "quantize.py")


def record(level, path):
    return logging.LogRecord("root", level, path, 1, "advice", None, None)


@pytest.mark.parametrize(
    ("kept", "name"),
    [
        (quiet.transformers_quiet, "transformers"),
        (quiet.datasets_quiet, "datasets"),
        (quiet.exporter_quiet, "torch.onnx"),
    ],
)
def test_only_errors_of_one_library_pass(kept, name):
    logger, other = logging.getLogger(name), logging.getLogger("of.somebody.else")
    before = (logger.level, other.getEffectiveLevel())
    with kept():
        assert not logger.isEnabledFor(logging.WARNING)
        assert logger.isEnabledFor(logging.ERROR)
        assert other.getEffectiveLevel() == before[1]
    assert (logger.level, other.getEffectiveLevel()) == before


@pytest.mark.parametrize("was_on", [True, False])
@pytest.mark.parametrize(
    ("kept", "is_on", "enable", "disable"),
    [
        (
            quiet.transformers_quiet,
            transformers.logging.is_progress_bar_enabled,
            transformers.logging.enable_progress_bar,
            transformers.logging.disable_progress_bar,
        ),
        (
            quiet.datasets_quiet,
            lambda: not datasets.are_progress_bars_disabled(),
            datasets.enable_progress_bars,
            datasets.disable_progress_bars,
        ),
    ],
)
def test_bars_are_off_and_then_as_before(kept, is_on, enable, disable, was_on):
    (enable if was_on else disable)()
    with kept():
        assert not is_on()
    assert is_on() == was_on
    enable()


def test_only_the_quantizers_advice_is_kept_back():
    root = logging.getLogger()
    with quiet.quantizer_quiet():
        assert not root.filter(record(logging.WARNING, QUANTIZER))
        assert root.filter(record(logging.ERROR, QUANTIZER))
        assert root.filter(record(logging.WARNING, __file__))
        assert logging.root.manager.disable == 0
    assert root.filter(record(logging.WARNING, QUANTIZER))


def test_warnings_of_the_exporter_do_not_show():
    with quiet.exporter_quiet():
        warnings.warn("axes were merged", stacklevel=1)
