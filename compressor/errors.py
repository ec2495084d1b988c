"""The exceptions a user can meet, each with its exit code, and functions that format messages."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from compressor.bench import errors as bench


class CompressorError(bench.BenchError):
    """Base of the errors that `cli.main` turns into lines and an exit code."""


class RecipeError(CompressorError, bench.PlanError):
    """The recipe or the command line is wrong; carries every problem, one per line.

    Derives from the bench's `PlanError`, which the bench raises for its plans: catching that one catches both.
    """

    exit_code = 2


class InputError(CompressorError, bench.InputError):
    """A checkpoint, dataset, ONNX file or architecture is missing, damaged or unsupported.

    Derives from the bench's `InputError`, which modules of `compressor.bench` raise also where this process calls
    them: catching that one catches both.
    """

    exit_code = 3


class NumericsError(CompressorError):
    """Numbers failed: NaN loss, a width without live units, removal that changed the outputs."""

    exit_code = 4


class ParityError(CompressorError):
    """ONNX and torch disagree beyond the tolerance."""

    exit_code = 5


class GateMissed(CompressorError):  # noqa: N818 - a verdict, not a fault
    """A limit that the recipe sets on the result was missed.

    Attributes
    ----------
    report : mapping, or None
        The report of the run, where a run was judged.
    """

    exit_code = 6

    def __init__(self, message: str, report: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.report = report


class Inconclusive(CompressorError):  # noqa: N818 - a verdict, not a fault
    """Noise was too large for the time given."""

    exit_code = 7


class RunDirError(CompressorError):
    """The run directory cannot be used: locked, read-only, or the disk is full."""

    exit_code = 8


@contextlib.contextmanager
def unusable(what: str, cure: str = "") -> Iterator[None]:
    """Turn whatever a library raises on what a user gave it into an `InputError`; our own errors pass.

    Libraries promise no type: tokenizers raises a bare `Exception`, transformers an `AttributeError` of its own code.

    Examples
    --------
    >>> with unusable("bert/tokenizer.json: cannot be read", "fetch it again"):
    ...     raise Exception("expected value at line 1")
    Traceback (most recent call last):
    compressor.errors.InputError: bert/tokenizer.json: cannot be read (expected value at line 1); fetch it again
    """
    try:
        yield
    except bench.BenchError:
        raise
    except Exception as error:
        raise InputError(f"{what} ({first_line(error.__cause__ or error)}){cure and f'; {cure}'}") from error


def first_line(error: BaseException) -> str:
    """First line of the message of an error from another library."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def listed(names: Iterable[object], most: int | None = None) -> str:
    """Quote names for a message; beyond ``most`` of them, only their number is given.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2)
    "'a', 'b' and 1 more"
    """
    quoted = [repr(name) for name in names]
    shown = ", ".join(quoted[:most])
    return f"{shown} and {len(quoted) - most} more" if most is not None and len(quoted) > most else shown
