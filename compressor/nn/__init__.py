"""Layers whose weights are products of factors."""

from collections.abc import Mapping
from typing import Any

from compressor.nn.convolution import FactorizedConv2d
from compressor.nn.embedding import FactorizedEmbedding
from compressor.nn.linear import FactorizedLinear
from compressor.nn.operation import Operation

__all__ = [
    "FACTORIZED",
    "Factorized",
    "FactorizedConv2d",
    "FactorizedEmbedding",
    "FactorizedLinear",
    "Operation",
    "from_spec",
]

Factorized = FactorizedLinear | FactorizedConv2d | FactorizedEmbedding
FACTORIZED = (FactorizedLinear, FactorizedConv2d, FactorizedEmbedding)  # the same, as tests of types take it
_KINDS: Mapping[str, type[Factorized]] = {
    "linear": FactorizedLinear,
    "conv2d": FactorizedConv2d,
    "embedding": FactorizedEmbedding,
}


def from_spec(spec: Mapping[str, Any]) -> Factorized:
    """Build the layer that a description is of, without its values.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is not the ``spec()`` of a layer.
    """
    return _KINDS[spec["kind"]].from_spec(spec)
