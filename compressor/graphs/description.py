"""The description of an ONNX file: the types of `content.describe`, in their own file so that they load no onnx."""

from typing import Literal, NotRequired, TypedDict


class Declared(TypedDict):
    """An input or an output of a file."""

    name: str
    type: str
    shape: list[str | int | None]
    """Names of free axes, None for those without a name, sizes of fixed ones."""
    below: NotRequired[int | None]
    """Bound on the ids that an input takes."""


class GraphLayer(TypedDict):
    """One layer of a file."""

    name: str
    n_params: int
    size_bytes: int
    n_nodes: int


class Description(TypedDict):
    """The content of an ONNX file."""

    kind: Literal["onnx"]
    ir_version: int
    opset: dict[str, int]
    producer: str
    metadata: dict[str, str]
    inputs: list[Declared]
    outputs: list[Declared]
    n_params: int
    n_nodes: int
    size_bytes: int
    ops: dict[str, int]
    layers: list[GraphLayer]
