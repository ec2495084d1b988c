"""The attributes that this package sets on other people's networks: all start with `_compressor_`."""

from typing import Any, Literal

from torch import nn

Mark = Literal["_compressor_new_bias", "_compressor_traced"]
"""A bias was added to the layer; the widths that tracing found in a network."""


def mark_(module: nn.Module, mark: Mark, value: object) -> None:
    """Set a mark; a copy of the module keeps it, a checkpoint does not."""
    setattr(module, mark, value)


def marked(module: nn.Module, mark: Mark) -> Any:
    """Read a mark; None if there is none."""
    return getattr(module, mark, None)
