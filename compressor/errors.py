"""The exceptions a user can meet, each with its exit code."""


class CompressorError(Exception):
    """Base of everything `cli.main` turns into one line and an exit code."""

    exit_code = 1


class RecipeError(CompressorError):
    """The recipe or the command line is wrong; carries every problem, one per line."""

    exit_code = 2


class InputError(CompressorError):
    """A checkpoint, dataset, ONNX file or architecture is missing, damaged or unsupported."""

    exit_code = 3


class NumericsError(CompressorError):
    """Numbers failed: NaN loss, a width without live units, removal that changed the outputs."""

    exit_code = 4


class ParityError(CompressorError):
    """ONNX and torch disagree beyond the tolerance."""

    exit_code = 5


class GateMissed(CompressorError):  # noqa: N818 - a verdict, not a fault
    """A limit that the recipe sets on the result was missed."""

    exit_code = 6


class Inconclusive(CompressorError):  # noqa: N818 - a verdict, not a fault
    """Noise was too large for the time given."""

    exit_code = 7


class RunDirError(CompressorError):
    """The run directory cannot be used: locked, read-only, or the disk is full."""

    exit_code = 8
