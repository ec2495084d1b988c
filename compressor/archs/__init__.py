"""Families of networks: one file each, which declares what can be cut and keeps the network consistent after a cut.

A file defines the names of `Arch` and, if it needs them, the optional ``OPSET`` and ``renumber_``; `opsets_of` and
`renumber_` below use these, or a default for the families that define none.
"""

from typing import Protocol

from torch import nn

from compressor.surgery.widths import Family

OPSET = 23  # the first with an Attention operator; a family that needs another names it in its file


class Arch(Family, Protocol):
    """The names that a file in this folder defines; `widths` and `resized_` are those of `Family`."""

    MODEL_TYPES: tuple[str, ...]
    """Values of ``config.model_type`` that the file handles."""

    def blocks(self, net: nn.Module) -> list[str]:
        """Paths of the layers that can be removed or compared one by one, first layer first."""


def opsets_of(arch: Arch) -> tuple[int, ...]:
    """ONNX opset of the fastest export that is correct for a family: its ``OPSET``, if it has one.

    Several are those to try in turn, where the file serves families that differ.
    """
    opset: int | tuple[int, ...] = getattr(arch, "OPSET", OPSET)
    return opset if isinstance(opset, tuple) else (opset,)


def renumber_(arch: Arch, net: nn.Module) -> None:
    """Assign the attentions of a decoder their slots in the cache, by the ``renumber_`` of the family, if it has one.

    Needed after layers were removed, or attentions lost all their heads.
    """
    if hasattr(arch, "renumber_"):
        arch.renumber_(net)
