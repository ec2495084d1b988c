"""Networks that no other file names: widths found by unifying the dimensions of all tensors of a traced forward pass.

Every operator tells which dimensions of its inputs and outputs are one and the same. A class of them that linear layers
or convolutions write and read is a width, unless one of its dimensions meets an operator that is unknown here, is
normalised or reduced over, or leaves the network. Heads are not found: they hide in a reshape.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node
from transformers.pytorch_utils import Conv1D

from compressor import layers
from compressor.errors import InputError
from compressor.surgery import Cut, Width

MODEL_TYPES = ()  # none by name: it answers for all that no other file does
_BATCH_SIZE, _LENGTH = 2, 7

Dim = tuple[Node, int]  # a tensor of the traced pass, and one of its axes


def blocks(net: nn.Module) -> list[str]:
    """Name the members of the longest list of layers."""
    lists = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.ModuleList)]
    name, longest = max(lists, key=lambda found: len(found[1]), default=("", ()))
    return [f"{name}.{i}" for i in range(len(longest))]


def widths(net: Any) -> list[Width]:
    """List the widths of the traced network, at the sizes they have now."""
    if not hasattr(net, "traced_widths"):  # kept with the network: cuts change sizes only
        net.traced_widths = tuple(_trace(net))
    return [replace(width, size=_size(net, width)) for width in net.traced_widths]


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Have nothing to tell: whatever reads a size from anywhere but its weights fails the proof."""


def _size(net: nn.Module, width: Width) -> int:
    weight = layers.slots(net, replace(width, size=0), width.producers[0])[0]
    return weight.tensor.shape[weight.axis]


def _trace(net: nn.Module) -> Iterator[Width]:
    """Trace a forward pass, and turn every class of dimensions that can be cut into a width."""
    program = _program(net)
    classes = _Classes()
    for node in program.graph.nodes:
        _relate(node, classes)
    parameters = _parameters(program)
    outside = {node for node in program.graph.nodes if node.op == "placeholder"} - set(parameters)
    for node in (*outside, *program.graph.output_node().all_input_nodes):
        classes.mix(node)
    for members in classes.of(parameters):
        width = _width(net, [(parameters[node], axis) for node, axis in members])
        if width is not None:
            yield width


def _program(net: Any) -> ExportedProgram:
    modes = [(module, module.training) for module in net.modules()]
    try:
        return torch.export.export(net.eval(), (), kwargs=_example(net), strict=False)
    except Exception as error:  # the exporter's own share no base
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        family = net.config.model_type
        raise InputError(f"model: no file knows the family {family!r}, and it cannot be traced ({reason})") from error
    finally:
        for module, mode in modes:
            module.training = mode


def _example(net: Any) -> dict[str, object]:
    """Make arguments of the two kinds that transformers' classifiers take."""
    with torch.device(net.device):
        if net.main_input_name == "pixel_values":
            side = net.config.image_size
            height, width = (side, side) if isinstance(side, int) else side
            return {"pixel_values": torch.zeros(_BATCH_SIZE, net.config.num_channels, height, width)}
        ids = torch.ones(_BATCH_SIZE, _LENGTH, dtype=torch.long)
        cache = {"use_cache": False} if hasattr(net.config, "use_cache") else {}
        return {net.main_input_name: ids, "attention_mask": torch.ones_like(ids), **cache}


def _parameters(program: ExportedProgram) -> dict[Node, str]:
    """Map what stands for parameters and buffers in the graph to their names in the network."""
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    return {node: names[node.name] for node in program.graph.nodes if node.name in names}


def _width(net: nn.Module, members: Sequence[tuple[str, int]]) -> Width | None:
    """Make a width of parameters and the axis of each; None where nothing writes or reads it, or an axis is no cut."""
    producers: list[Cut] = []
    consumers: list[Cut] = []
    carriers: list[Cut] = []
    for name, axis in members:
        path, _, tensor = name.rpartition(".")
        layer = net.get_submodule(path)
        if tensor == "bias" or tensor.startswith("running_"):
            continue  # goes with its weight
        if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Embedding | Conv1D):
            is_norm = tensor == "weight" and isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
            carriers.append(Cut(path if is_norm else name, "out"))
        elif getattr(layer, "groups", 1) > 1:
            carriers.append(Cut(path, "out"))
        else:
            is_out = axis == (1 if isinstance(layer, nn.Embedding | Conv1D) else 0)
            (producers if is_out else consumers).append(Cut(path, "out" if is_out else "in"))
    if not producers or not consumers:
        return None
    is_linear = all(not isinstance(net.get_submodule(cut.module), nn.Conv1d | nn.Conv2d) for cut in producers)
    name = f"{producers[0].module}.{'ffn' if is_linear else 'channels'}"
    kind = "neuron" if is_linear else "channel"
    return Width(name, kind, 0, tuple(producers), tuple(consumers), tuple(carriers))


class _Classes:
    """Dimensions that are one and the same (union-find), and those that must keep their size."""

    def __init__(self) -> None:
        self.parents: dict[Dim, Dim] = {}
        self.mixed: set[Dim] = set()

    def root(self, dim: Dim) -> Dim:
        while (parent := self.parents.get(dim, dim)) != dim:
            dim = parent
        return dim

    def unify(self, *dims: Dim) -> None:
        for one, other in pairwise(dims):
            self.parents[self.root(one)] = self.root(other)

    def mix(self, node: Node, *axes: int) -> None:
        """Take dimensions of a tensor, all by default, out of what can be cut."""
        self.mixed |= {(node, axis) for axis in axes or range(len(_shape(node)))}

    def of(self, parameters: dict[Node, str]) -> list[list[Dim]]:
        """Group the dimensions of the parameters, in their order, without the classes that are mixed."""
        mixed = {self.root(dim) for dim in self.mixed}
        found: dict[Dim, list[Dim]] = defaultdict(list)
        for node in parameters:
            for axis in range(len(_shape(node))):
                found[self.root((node, axis))].append((node, axis))
        return [members for root, members in found.items() if root not in mixed]


def _shape(node: Node) -> tuple[int, ...]:
    """Shape of a tensor; a node that stands for something else has none."""
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _relate(node: Node, classes: _Classes) -> None:
    """Enter what an operator says of its dimensions; of an unknown one, all are mixed."""
    if node.op != "call_function":
        return
    rule = next((rule for rule, names in _RULES.items() if _name(node) in names), _unknown)
    rule(node, classes)


def _name(node: Node) -> str:
    """Name the operator, `add` for its variants that change a tensor in place too."""
    return str(getattr(node.target, "_opname", node.target)).rstrip("_")


def _inputs(node: Node) -> list[Node]:
    return [arg for arg in node.all_input_nodes if _shape(arg)]


def _argument(node: Node, index: int = 1) -> Any:
    """Give an argument that is no tensor; None where it was left out."""
    return node.args[index] if len(node.args) > index else None


def _unknown(node: Node, classes: _Classes) -> None:
    for tensor in (node, *_inputs(node)):
        classes.mix(tensor)


def _pointwise(node: Node, classes: _Classes) -> None:
    """Unify from the right; a dimension of 1 is repeated along the other."""
    shape = _shape(node)
    for tensor in _inputs(node):
        offset = len(shape) - len(_shape(tensor))
        for axis, size in enumerate(_shape(tensor)):
            if size == shape[axis + offset]:
                classes.unify((tensor, axis), (node, axis + offset))


def _linear(node: Node, classes: _Classes) -> None:
    inputs, weight, *bias = _inputs(node)
    last = len(_shape(node)) - 1
    classes.unify((node, last), (weight, 0), *((each, 0) for each in bias))
    classes.unify((inputs, last), (weight, 1))
    for axis in range(last):
        classes.unify((inputs, axis), (node, axis))


def _addmm(node: Node, classes: _Classes) -> None:
    bias, inputs, weight = _inputs(node)
    classes.unify((node, 1), (weight, 1), (bias, 0))
    classes.unify((inputs, 1), (weight, 0))
    classes.unify((inputs, 0), (node, 0))


def _convolution(node: Node, classes: _Classes) -> None:
    inputs, weight, *bias = _inputs(node)
    n_out, n_in = _shape(weight)[:2]
    is_depthwise = n_in == 1 and _shape(inputs)[1] == n_out > 1
    if n_in != _shape(inputs)[1] and not is_depthwise:
        return _unknown(node, classes)
    classes.unify((node, 1), (weight, 0), *((each, 0) for each in bias))
    classes.unify((inputs, 1), (weight, 0 if is_depthwise else 1))
    classes.unify((inputs, 0), (node, 0))
    for tensor in (inputs, node, weight):
        classes.mix(tensor, *range(2, len(_shape(tensor))))


def _batch_norm(node: Node, classes: _Classes) -> None:
    inputs, *vectors = _inputs(node)
    classes.unify((node, 1), *((each, 0) for each in vectors))
    for axis in range(len(_shape(node))):
        classes.unify((inputs, axis), (node, axis))


def _pool(node: Node, classes: _Classes) -> None:
    (inputs,) = _inputs(node)
    for axis in range(2):
        classes.unify((inputs, axis), (node, axis))
    for tensor in (inputs, node):
        classes.mix(tensor, *range(2, len(_shape(tensor))))


def _reduce(node: Node, classes: _Classes) -> None:
    """Mix the axes that a mean or a softmax runs over; the others pass, in their order."""
    (inputs,) = _inputs(node)
    n_axes, given = len(_shape(inputs)), _argument(node)
    if given is None:
        return _unknown(node, classes)
    over = {axis % n_axes for axis in ([given] if isinstance(given, int) else given)}
    classes.mix(inputs, *over)
    is_same = len(_shape(node)) == n_axes
    left = [axis for axis in range(n_axes) if axis not in over]
    for position, axis in enumerate(left):
        classes.unify((inputs, axis), (node, axis if is_same else position))


def _layer_norm(node: Node, classes: _Classes) -> None:
    inputs, *vectors = _inputs(node)
    n_axes, n_normalised = len(_shape(node)), len(_argument(node))
    for axis in range(n_axes):
        classes.unify((inputs, axis), (node, axis))
    classes.mix(node, *range(n_axes - n_normalised, n_axes))
    for each in vectors:
        classes.mix(each)


def _permute(node: Node, classes: _Classes) -> None:
    (inputs,) = _inputs(node)
    order = list(range(len(_shape(inputs))))
    if _name(node) == "permute":
        order = [axis % len(order) for axis in _argument(node)]
    else:
        one, other = (axis % len(order) for axis in (_argument(node, 1), _argument(node, 2)))
        order[one], order[other] = order[other], order[one]
    for axis, source in enumerate(order):
        classes.unify((inputs, source), (node, axis))


def _reshape(node: Node, classes: _Classes) -> None:
    """Unify what has the same size from the left, then from the right; mix what lies between."""
    (inputs,) = _inputs(node)
    before, after = _shape(inputs), _shape(node)
    n_left = _n_equal(before, after)
    n_right = _n_equal(before[n_left:][::-1], after[n_left:][::-1])
    for axis in range(n_left):
        classes.unify((inputs, axis), (node, axis))
    for axis in range(1, n_right + 1):
        classes.unify((inputs, len(before) - axis), (node, len(after) - axis))
    for tensor, shape in ((inputs, before), (node, after)):
        between = [axis for axis in range(n_left, len(shape) - n_right) if shape[axis] > 1]
        if between:
            classes.mix(tensor, *between)


def _n_equal(before: Sequence[int], after: Sequence[int]) -> int:
    """Count the leading sizes that agree."""
    shared = min(len(before), len(after))
    return next((i for i in range(shared) if before[i] != after[i]), shared)


def _pad(node: Node, classes: _Classes) -> None:
    (inputs,) = _inputs(node)
    n_axes = len(_shape(node))
    for axis in range(n_axes):
        if axis < n_axes - len(_argument(node)) // 2:
            classes.unify((inputs, axis), (node, axis))
        else:
            classes.mix(inputs, axis)
            classes.mix(node, axis)


_POINTWISE = (
    *(
        "add",
        "sub",
        "mul",
        "div",
        "neg",
        "abs",
        "exp",
        "sqrt",
        "pow",
        "clamp",
        "relu",
        "relu6",
        "gelu",
        "silu",
        "sigmoid",
    ),
    *("tanh", "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "elu", "mish", "softplus", "dropout"),
    *("feature_dropout", "clone", "contiguous", "to", "detach", "alias"),
)
_RULES: dict[Callable[[Node, _Classes], None], tuple[str, ...]] = {
    _pointwise: _POINTWISE,
    _linear: ("linear",),
    _addmm: ("addmm",),
    _convolution: ("conv1d", "conv2d"),
    _batch_norm: ("batch_norm",),
    _pool: ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_avg_pool1d", "max_pool1d", "avg_pool1d"),
    _reduce: ("mean", "sum", "amax", "softmax"),
    _layer_norm: ("layer_norm",),
    _permute: ("permute", "transpose"),
    _reshape: ("view", "reshape", "flatten"),
    _pad: ("pad",),
}
