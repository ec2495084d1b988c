"""Errors that a user can fix: one line on stderr, with the exit code that it has everywhere in compressor.

On the host `compressor.errors` derives its own classes from these; the bench itself raises only these.
"""


class BenchError(Exception):
    """Base of everything `__main__` turns into one line and an exit code."""

    exit_code = 1


class PlanError(BenchError):
    """The plan is wrong, nothing was run."""

    exit_code = 2


class InputError(BenchError):
    """A file or a meter is missing, damaged or cannot be used."""

    exit_code = 3
