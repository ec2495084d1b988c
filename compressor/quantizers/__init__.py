"""Quantizers: one file each, from a float graph to one with fewer bits; graphs and arrays only.

A file defines the names of `Quantizer`. The stage `quantize` and the command of that name choose one by its ``mode``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import onnx

from compressor.bench.result import Precision
from compressor.graphs.ranges import Feed, Method

__all__ = ["Quantizer", "Settings"]


@dataclass(frozen=True)
class Settings:
    """How a graph is to be quantized."""

    rows: Sequence[Feed] = ()
    """Calibration rows: inputs of one run each, without padding."""
    ranges: Method = "min_max"
    """How the range of an activation follows from its values."""
    target: Literal["x86", "arm"] = "x86"
    """Processor for which activations have 8 bits: without a sign on x86, with one on Arm."""
    bits: int = 4
    """Of weights alone."""
    block_size: int = 32
    """Number of weights that share a scale, where only weights have fewer bits."""
    reduce_range: bool = False
    """Whether weights have 7 bits, because 8 can saturate on x86 processors without VNNI."""
    left: frozenset[str] = frozenset()
    """Names of the layers that stay in float."""


class Quantizer(Protocol):
    """The names that a file in this folder defines."""

    TAKES: frozenset[str]
    """Which fields of `Settings` it reads."""

    def layers(self, graph: onnx.ModelProto, /) -> list[str]:
        """Names of the layers that it would quantize, each of which may be left in float."""

    def quantize(self, graph: onnx.ModelProto, settings: Settings, /) -> onnx.ModelProto:
        """Quantize a float graph; the one given may be changed.

        Parameters
        ----------
        graph : ModelProto
            A float graph with its weights, without recorded shapes.
        settings : Settings
            How.

        Returns
        -------
        ModelProto
            A graph with the same inputs and outputs.

        Raises
        ------
        InputError
            If the calibration rows do not fit, or the graph has nothing to quantize.
        """

    def precision(self, settings: Settings, /) -> Precision:
        """Name the precision of the file."""
