"""The JSON documents of ``compress inspect --json``."""

from typing import Literal, TypedDict

from compressor.graphs.description import Description
from compressor.rundir import FactorizedLayer


class InspectedWidth(TypedDict):
    """One width of a network; dead units are those that no layer reads."""

    name: str
    kind: str
    n_units: int
    n_units_original: int
    n_dead: int


class InspectedLayer(TypedDict):
    """One layer of a network."""

    name: str
    n_params: int
    n_flops: int
    size_bytes: int


NetworkClass = TypedDict("NetworkClass", {"class": str})  # a keyword of Python, so no class can have this field


class NetworkInventory(NetworkClass):
    """What a saved network is made of."""

    kind: Literal["model"]
    family: str
    n_params: int
    n_params_original: int
    n_flops: int
    flops_at: str
    """Name of the shape that FLOPs were counted at."""
    size_bytes: int
    widths: list[InspectedWidth]
    factorized: list[FactorizedLayer]
    layers: list[InspectedLayer]


class GraphInventory(Description):
    """What an ONNX file is made of, and what follows from it."""

    max_length: int | None
    n_flops: int | None
    flops_at: str


Inventory = NetworkInventory | GraphInventory
