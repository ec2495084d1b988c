"""Find the widths of any network by tracing one forward pass, and the reasons why other units must stay."""

import warnings
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from io import StringIO

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils._pytree import tree_map_only

from compressor.errors import InputError
from compressor.surgery import layers
from compressor.surgery.tracing.dimensions import POINTWISE, VIEWS, links_of
from compressor.surgery.tracing.layout import Axis, Placed, after_cuts, layout
from compressor.surgery.tracing.links import Dim, Entries, Links
from compressor.surgery.tracing.nodes import name_of, shape_of
from compressor.surgery.tracing.trial import failures
from compressor.surgery.twin import twin
from compressor.surgery.units import Example
from compressor.surgery.widths import Cut, Kind, Width

_ADDING = ("add", "sub", "cat")
_KINDS: dict[str, Kind] = {
    "residual": "dimension",
    "embedding": "dimension",
    "groups": "group",
    "channels": "channel",
    "ffn": "neuron",
}
"""Last words of names; the first that any of the layers has is taken."""
_CROSSING = ("residual", "embedding")  # their units share weights with those of many layers


def find_widths(module: nn.Module, example: Example) -> list[Width]:
    """Find the widths of a network by tracing one forward pass: neurons, channels, and sums that blocks add to.

    Units are written by linear layers, convolutions or embeddings and read by others. The entries of all tensors are
    followed through the graph of `torch.export`: through additions, gates, concatenations, flattening, and depthwise
    and grouped convolutions (there a unit is a whole group). The returned widths have been tried: a copy of the
    network runs without one unit of each.

    Parameters
    ----------
    module : nn.Module
        Any network that `torch.export` can trace; traced in eval mode and not changed.
    example : mapping of Tensor, Tensor, or sequence of Tensor
        Keyword arguments, the only positional argument, or all positional arguments of one forward call.

    Returns
    -------
    list of Width
        In the order of the layers. A name is the path of the first layer that writes the units and ``ffn`` (only
        linear layers write them), ``channels``, ``groups`` (of a grouped convolution), ``embedding`` or ``residual``:
        the last are normalised over, so that a cut of them is not exact. Find the widths again between two cuts: a
        cut moves the entries that follow it in a concatenation.

    Raises
    ------
    InputError
        If the network cannot be traced.

    See Also
    --------
    left_out : Why the outputs of other layers cannot be cut.

    Examples
    --------
    >>> convolutions = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten()
    >>> net = nn.Sequential(*convolutions, nn.Linear(8 * 36, 5), nn.ReLU(), nn.Linear(5, 2))
    >>> example = torch.zeros(2, 3, 8, 8)
    >>> [(width.name, width.size) for width in find_widths(net, example)]
    [('0.channels', 8), ('3.ffn', 5)]
    >>> left_out(net, example)
    {'5': 'leaves the network'}
    """
    return [placed.width for placed in trace(module, example).placed]


def left_out(module: nn.Module, example: Example) -> dict[str, str]:
    """Map each layer whose outputs `find_widths` leaves out to the reason; of several layers, only the first is listed.

    Only linear layers, convolutions and embeddings are considered; no others are ever cut.

    Parameters
    ----------
    module, example
        As for `find_widths`.

    Returns
    -------
    dict of str
        Reasons such as ``leaves the network``, ``split by a reshape`` (attention heads) or ``no rule for the operator
        'fft_fft2'``.

    Raises
    ------
    InputError
        If the network cannot be traced.
    """
    return trace(module, example).left_out


@dataclass
class Traced:
    """The widths that were found in a network when it was traced."""

    placed: list[Placed]
    left_out: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    """Shapes of the parameters and buffers."""

    def widths(self, net: nn.Module) -> list[Width]:
        """List the widths at their current sizes."""
        return after_cuts(self.placed, self.shapes, net)


def trace(module: nn.Module, example: Example) -> Traced:
    """Trace a forward pass, make widths of the units that can be cut, and try them."""
    program = _program(module, example)
    names = _parameters(program)
    links = links_of(program.graph)
    for node in (node for node in program.graph.nodes if node.op == "placeholder" and node not in names):
        links.fix("enters the network", node)
    for node in program.graph.output_node().all_input_nodes:
        links.fix("leaves the network", node)

    traced = Traced([], {}, {name: shape_of(node) for node, name in names.items()})
    for units, reason, is_exact in _unit_groups(links, names):
        _add_(traced, _gather(module, names, units, reason), is_exact)
    for width, reason in failures(module, example, [placed.width for placed in traced.placed]).items():
        traced.placed = [placed for placed in traced.placed if placed.width is not width]
        traced.left_out.setdefault(width.producers[0].module, reason)
    return traced


def _program(module: nn.Module, example: Example) -> ExportedProgram:
    """Trace a network in eval mode; nothing is computed, so that tensors on the meta device may be empty on the CPU.

    On the meta device networks fail that make some of their tensors on the CPU, as XLNet does.
    """
    is_meta = any(tensor.is_meta for tensor in module.parameters())
    traced, arguments = (twin(module, "cpu"), _emptied(example)) if is_meta else (twin(module), example)
    named = dict(arguments) if isinstance(arguments, Mapping) else None
    positional = () if named is not None else (arguments,) if isinstance(arguments, Tensor) else tuple(arguments)
    try:
        with torch.device("cpu" if is_meta else torch.get_default_device()), _quiet():
            return torch.export.export(traced.eval(), positional, kwargs=named, strict=False)
    except Exception as error:  # the exporter's exceptions share no base
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{type(module).__name__}: cannot be traced ({reason})") from error


def _emptied(example: Example) -> Example:
    """Return arguments of the same shapes on the CPU."""
    emptied: Example = tree_map_only(Tensor, lambda each: torch.zeros_like(each, device="cpu"), example)
    return emptied


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warning of tensors that a twin keeps, and the graph that torch prints before it raises."""
    with redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The tensor attribute", UserWarning)
        yield


def _parameters(program: ExportedProgram) -> dict[Node, str]:
    """Map the nodes of parameters and buffers in the graph to their names in the network."""
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    return {node: names[node.name] for node in program.graph.nodes if node.name in names}


Units = dict[Dim, Entries]
"""Units along the same axes of the same parameters: their entries on each axis, one row per unit."""


def _unit_groups(links: Links, parameters: Iterable[Node]) -> Iterator[tuple[Units, str | None, bool]]:
    """Group units along the same axes, with the reason why they must stay, and whether a cut of them is exact."""
    dims = [(node, axis) for node in parameters for axis in range(len(shape_of(node)))]
    numbers = [links.entries(*dim) for dim in dims]
    units = links.units()
    held: dict[int, dict[Dim, list[int]]] = defaultdict(lambda: defaultdict(list))
    for dim, entries in zip(dims, numbers, strict=True):
        for position, unit in enumerate(units[entries].tolist()):
            held[unit][dim].append(position)

    reasons, inexact = links.reasons(units), links.inexact(units)
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for unit, axes in held.items():
        counts = tuple((dim, len(positions)) for dim, positions in axes.items())
        groups[counts, reasons.get(unit), unit in inexact].append(unit)
    for group in groups.values():
        first = group[0]
        tables = {dim: np.array([held[unit][dim] for unit in group]) for dim in held[first]}
        yield tables, reasons.get(first), first not in inexact


@dataclass
class _Gathered:
    """The cuts of units by their role, each with its axis, and the reason why the units must stay."""

    n_units: int
    reason: str | None
    writers: dict[Cut, Axis] = field(default_factory=dict)
    tokens: dict[Cut, Axis] = field(default_factory=dict)
    """Tensors outside any layer that are added to the outputs of the writers, such as positions."""
    readers: dict[Cut, Axis] = field(default_factory=dict)
    carriers: dict[Cut, Axis] = field(default_factory=dict)
    suffixes: set[str] = field(default_factory=set)


def _gather(net: nn.Module, names: Mapping[Node, str], units: Units, reason: str | None) -> _Gathered:
    """Turn the axes of units into cuts."""
    gathered = _Gathered(len(next(iter(units.values()))), reason)
    for (node, axis), entries in units.items():
        name = names[node]
        path, _, tensor = name.rpartition(".")
        layer = net.get_submodule(path)
        role = layers.role(layer, tensor, axis)
        sides = {
            "writes": gathered.writers,
            "reads": gathered.readers,
            "carries": gathered.carriers,
            "adds": gathered.tokens,
        }
        side = sides.get(role or _role_of_tensor(node, axis) or "")
        place = layout(entries)
        if side is None or place is None:
            why = "cannot be cut" if side is None else "has them in an order that cannot be cut"
            gathered.reason = gathered.reason or f"{name!r} {why}"
            continue
        cut = Cut(path if role else name, "in" if role == "reads" else "out", *place)
        side.setdefault(cut, (name, axis))  # a bias is cut with its weight
        if role in ("writes", "carries"):
            gathered.suffixes.add(_suffix(layer, cut))
    return gathered


def _suffix(layer: nn.Module, cut: Cut) -> str:
    """Choose the last word of a width's name from one of its layers."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return "groups" if layer.groups > 1 and cut.block > 1 else "channels"
    return "embedding" if isinstance(layer, nn.Embedding) else "ffn"


def _role_of_tensor(node: Node, axis: int) -> str | None:
    """Whether a tensor outside any layer is added to the units along its last axis, or scales them; None if neither."""
    users, used = [*node.users], set()
    while users:
        user = users.pop()
        if name_of(user) in VIEWS:
            users += user.users
        else:
            used.add(name_of(user))
    if axis != len(shape_of(node)) - 1 or not used <= {*POINTWISE, *_ADDING, "prelu"}:
        return None
    return "adds" if used & {*_ADDING} else "carries"


def _add_(traced: Traced, gathered: _Gathered, is_exact: bool) -> None:
    """Add units to the widths, or to those left out; units that no layer writes are inputs of the network."""
    if not gathered.writers:
        return
    first = next(iter(gathered.writers)).module
    reason = gathered.reason or (None if gathered.readers else "no layer reads it")
    if reason:
        traced.left_out.setdefault(first, reason)
        return
    suffix = next(word for word in _KINDS if word in gathered.suffixes) if is_exact else "residual"
    part = sum(placed.width.producers[0].module == first for placed in traced.placed)
    layer = f"{first}.part_{part}" if part else first
    sides = ((*gathered.writers, *gathered.tokens), tuple(gathered.readers), tuple(gathered.carriers))
    kind, crosses = _KINDS[suffix], suffix in _CROSSING
    width = Width(f"{layer}.{suffix}", kind, gathered.n_units, *sides, exact=is_exact, layer=layer, crosses=crosses)
    axes = gathered.writers | gathered.tokens | gathered.readers | gathered.carriers
    traced.placed.append(Placed(width, axes))
