"""Infer the shapes and small arrays of an ONNX graph, node by node, from the shapes of its inputs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    TypeProto,
    defs,
    helper,
    numpy_helper,
)
from onnx.checker import ValidationError
from onnx.external_data_helper import load_external_data_for_tensor
from onnx.inliner import inline_local_functions
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import InferenceError, infer_node_outputs

from compressor.bench.axes import Axes, Declared
from compressor.bench.result import InputFacts
from compressor.errors import InputError, first_line
from compressor.graphs import content, contrib

MOST_WHOLE = 2**16  # entries of an array that is computed: shapes, positions, the mask of a text
MOST_OTHER = 16  # if they are not integers: scales of an axis
WHOLE = {TensorProto.DataType.Value(f"{sign}INT{n_bits}") for sign in ("", "U") for n_bits in (8, 16, 32, 64)} | {
    TensorProto.BOOL
}
PAYLOADS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


@dataclass(frozen=True)
class Value:
    """The known facts about a value before the graph runs."""

    type: TypeProto | None = None
    """Type of its entries, and the known part of its shape."""
    array: np.ndarray | None = None
    """Its entries, if they are few and known before the graph runs."""
    is_constant: bool = False
    """Whether it does not depend on any input of the graph."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Sizes of its axes; None unless all are known."""
        if self.type is None or not self.type.tensor_type.HasField("shape"):
            return None
        sizes = [axis.dim_value if axis.HasField("dim_value") else -1 for axis in self.type.tensor_type.shape.dim]
        return tuple(sizes) if min(sizes, default=0) >= 0 else None


@dataclass(frozen=True)
class Step:
    """One operation with its inputs and outputs; onnxruntime's own are rewritten as standard ones."""

    node: NodeProto
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    is_known: bool
    """Whether the standard has the operation."""
    complaint: str
    """Why its inputs do not fit together; empty if they do."""

    def read(self, index: int) -> Value:
        """Return an input; an unknown value if there is none."""
        return self.inputs[index] if index < len(self.inputs) else Value()

    @property
    def made(self) -> Value:
        """The first output."""
        return next(iter(self.outputs), Value())

    def setting(self, name: str, default: Any) -> Any:
        """Return an attribute."""
        return next((helper.get_attribute_value(each) for each in self.node.attribute if each.name == name), default)


def skeleton(file: Path) -> onnx.ModelProto:
    """Parse an ONNX file for `walk`: only small weights are kept, and local functions are inlined."""
    proto = content.read(file)
    for tensor in proto.graph.initializer:
        if not _is_small(_type(tensor)):
            for name in PAYLOADS:
                tensor.ClearField(name)
            tensor.data_location = TensorProto.EXTERNAL
        else:
            _load_(tensor, file)
    for node in proto.graph.node:
        node.domain = "" if node.domain == "ai.onnx" else node.domain  # both name the standard
    try:
        return inline_local_functions(proto) if proto.functions else proto
    except ValidationError as error:
        raise InputError(f"{file}: its functions cannot be inlined ({first_line(error)})") from error


def at(
    proto: onnx.ModelProto, batch_size: int, length: int | None, facts: Mapping[str, InputFacts] | None = None
) -> dict[str, Value]:
    """Set the free axes of the inputs as the bench does, with its facts about the inputs."""
    sizes = axes(proto).sizes(batch_size, length, facts or {})
    found = {}
    for declared in _inputs(proto):
        tensor = declared.type.tensor_type
        shape = sizes[declared.name] if tensor.HasField("shape") else None
        found[declared.name] = Value(helper.make_tensor_type_proto(tensor.elem_type, shape))
    return found


def axes(proto: onnx.ModelProto) -> Axes:
    """Return the axes of the inputs."""
    return Axes(
        tuple(
            Declared(
                each.name,
                tuple(content.size(axis) for axis in each.type.tensor_type.shape.dim),
                each.type.tensor_type.elem_type in WHOLE,
            )
            for each in _inputs(proto)
        )
    )


def walk(proto: onnx.ModelProto, inputs: Mapping[str, Value]) -> Iterator[Step]:
    """Yield every operation in the order of execution, with the known facts about its inputs and outputs.

    Parameters
    ----------
    proto : onnx.ModelProto
        The result of `skeleton`.
    inputs : mapping from name to Value
        Type and shape of every input, as returned by `at`; with entries if these are known.

    Yields
    ------
    Step
        Shapes, and small arrays, as far as they follow from the inputs, the weights and the schemas of the operations.
        If a condition is known, its branch is walked through in place of the conditional operation.
    """
    values = {each.name: _weight(each) for each in proto.graph.initializer} | dict(inputs)
    opsets = {"" if each.domain == "ai.onnx" else each.domain: each.version for each in proto.opset_import}
    yield from _through(proto.graph.node, values, opsets)


def _inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """List the inputs, without the weights that old files list among them."""
    weights = {each.name for each in proto.graph.initializer}
    return [each for each in proto.graph.input if each.name not in weights and each.type.HasField("tensor_type")]


def _through(nodes: Sequence[NodeProto], values: dict[str, Value], opsets: Mapping[str, int]) -> Iterator[Step]:
    """Walk through a list of nodes, and add their outputs to the values."""
    for node in nodes:
        branch, written = _branch(node, values), contrib.standard(node)
        if branch is not None:
            values |= {each.name: _weight(each) for each in branch.initializer}
            pairs = zip(branch.output, node.output, strict=False)
            named = [helper.make_node("Identity", [made.name], [name]) for made, name in pairs]
            yield from _through([*branch.node, *named], values, opsets)
        elif written is not None:
            yield from _through(written, values, contrib.OPSETS)
        else:
            is_early = not _has_schema(node, opsets)  # onnxruntime had some operations before the standard had them
            step = _step(node, values, contrib.OPSETS if is_early else opsets)
            values |= zip(node.output, step.outputs, strict=True)
            yield step


def _branch(node: NodeProto, values: Mapping[str, Value]) -> onnx.GraphProto | None:
    """Return the branch that a condition selects; None if it is unknown."""
    condition = values.get("".join(node.input), Value()).array if node.op_type == "If" else None
    branches: dict[str, onnx.GraphProto] = {each.name: each.g for each in node.attribute}
    return None if condition is None else branches.get("then_branch" if condition.all() else "else_branch")


def _has_schema(node: NodeProto, opsets: Mapping[str, int]) -> bool:
    return defs.has(node.op_type, opsets.get(node.domain, 1), node.domain)


def _step(node: NodeProto, values: Mapping[str, Value], opsets: Mapping[str, int]) -> Step:
    """Infer the outputs of one operation."""
    read = {name: values.get(name, Value()) for name in node.input if name}
    is_known = _has_schema(node, opsets)
    types: dict[str, TypeProto] = {}
    complaint = ""
    if is_known and all(value.type for value in read.values()):
        try:
            types = _types(node, read, opsets)
        except (InferenceError, ValidationError, ValueError) as error:
            complaint = first_line(error)
    arrays = _arrays(node, read, opsets) if types and all(map(_is_small, types.values())) else {}
    is_constant = all(value.is_constant for value in read.values())
    made = tuple(_value(types.get(name), arrays.get(name), is_constant) for name in node.output)
    return Step(node, tuple(read.get(name, Value()) for name in node.input), made, is_known, complaint)


def _types(node: NodeProto, read: Mapping[str, Value], opsets: Mapping[str, int]) -> dict[str, TypeProto]:
    """Infer the types of an operation's outputs from its schema."""
    schema = defs.get_schema(node.op_type, opsets.get(node.domain, 1), node.domain)
    types = {name: value.type for name, value in read.items() if value.type is not None}
    arrays = {name: numpy_helper.from_array(value.array) for name, value in read.items() if value.array is not None}
    return infer_node_outputs(schema, node, types, arrays, opset_imports=_imported(opsets))


def _arrays(node: NodeProto, read: Mapping[str, Value], opsets: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Compute the outputs of an operation, if all its inputs are known."""
    arrays = {name: _entries(node, value) for name, value in read.items()}
    has_graph = any(each.type == AttributeProto.GRAPH for each in node.attribute)
    if has_graph or any(array is None for array in arrays.values()):
        return {}
    function = helper.make_function("", "step", list(arrays), list(node.output), [node], _imported(opsets))
    try:
        with np.errstate(all="ignore"):
            outputs = ReferenceEvaluator(function).run(None, arrays, attributes={})
    except Exception:  # an index beyond a table, or an operation that the evaluator lacks: the values stay unknown
        return {}
    return {name: np.asarray(array) for name, array in zip(node.output, outputs, strict=True)}


def _entries(node: NodeProto, value: Value) -> np.ndarray | None:
    """Return the entries of a node's input; if only its shape is read, any entries of that shape."""
    if node.op_type in ("Shape", "Size") and value.shape is not None:
        return np.broadcast_to(np.zeros((), np.int64), value.shape)
    return value.array


def _imported(opsets: Mapping[str, int]) -> list[OperatorSetIdProto]:
    return [helper.make_opsetid(domain, version) for domain, version in opsets.items()]


def _value(inferred: TypeProto | None, array: np.ndarray | None, is_constant: bool) -> Value:
    """Combine the known facts; an array determines its own type, and is dropped if it is large."""
    if array is None:
        return Value(inferred, None, is_constant)
    kind = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
    return Value(kind, array if _is_small(kind) else None, is_constant)


def _weight(tensor: TensorProto) -> Value:
    """Describe a weight, with its entries if it is small."""
    is_read = tensor.data_location != TensorProto.EXTERNAL and _is_small(_type(tensor))
    return Value(_type(tensor), numpy_helper.to_array(tensor) if is_read else None, is_constant=True)


def _load_(tensor: TensorProto, file: Path) -> None:
    """Read a small tensor, from the file next to the graph if it is there; a damaged one is an `InputError`."""
    try:
        if tensor.data_location == TensorProto.EXTERNAL:
            load_external_data_for_tensor(tensor, str(file.parent))
        numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OSError, ValidationError) as error:
        raise InputError(f"{file}: the weight {tensor.name!r} cannot be read ({first_line(error)})") from error


def _type(tensor: TensorProto) -> TypeProto:
    return helper.make_tensor_type_proto(tensor.data_type, tensor.dims)


def _is_small(kind: TypeProto) -> bool:
    """Whether entries may determine shapes: they are few, and even fewer if they are not integers."""
    tensor = kind.tensor_type
    sizes = [axis.dim_value if axis.HasField("dim_value") else 1 for axis in tensor.shape.dim]
    is_whole = tensor.elem_type in (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)
    return kind.HasField("tensor_type") and math.prod(sizes) <= (MOST_WHOLE if is_whole else MOST_OTHER)
