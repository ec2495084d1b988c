"""The marks that this package leaves on networks of others: all start with `_compressor_`."""

from typing import Any, Literal

from torch import nn

Mark = Literal["_compressor_new_bias", "_compressor_traced"]
"""A layer that was built without a bias and got one; what tracing found in a network."""


def mark_(module: nn.Module, mark: Mark, value: object) -> None:
    """Leave a mark; a copy of the module has it as well, a checkpoint does not."""
    setattr(module, mark, value)


def marked(module: nn.Module, mark: Mark) -> Any:
    """Read a mark; None where there is none."""
    return getattr(module, mark, None)
