"""The layers that can be cut: the tensors and axes that a cut takes, and the sizes to update after it."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from compressor.nn import FACTORIZED, FactorizedConv1x1, FactorizedConv2d, FactorizedEmbedding, FactorizedLinear
from compressor.surgery.marks import mark_, marked
from compressor.surgery.widths import Cut, Width

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, FactorizedConv2d, FactorizedConv1x1)
_NO_PADDING = ("valid", (0,), (0, 0))
_STATISTICS = ("running_mean", "running_var")
Role = Literal["writes", "reads", "carries"]


class Constant(nn.Module):
    """A linear layer that no longer reads any unit: its bias, at every position.

    An empty product would compute the same, but its empty inputs would be exported with it, and onnxruntime 1.31
    crashes on an attention without heads. The parameters keep their names, so that a checkpoint keeps its keys.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.in_axis = axes(layer, "in")["weight"]
        self.weight, self.bias = layer.weight, layer.bias
        mark_(self, "_compressor_new_bias", has_new_bias(layer))

    @property
    def out_features(self) -> int:
        """Number of outputs, as of the layer that it was."""
        return int(self.weight.shape[1 - self.in_axis])

    def forward(self, inputs: Tensor) -> Tensor:
        """Repeat the bias over the leading dimensions of ``inputs``."""
        emitted: Tensor = self.weight.sum(dim=self.in_axis) if self.bias is None else self.bias  # an empty sum: zero
        return emitted.expand(*inputs.shape[:-1], -1).clone()  # torch 2.13 fails on a view of a parameter in no_grad


@dataclass(frozen=True)
class Slot:
    """A tensor of a layer, and the axis along which it is cut."""

    owner: nn.Module
    name: str
    axis: int

    @property
    def tensor(self) -> Tensor:
        """The tensor in its current state."""
        tensor: Tensor = getattr(self.owner, self.name)
        return tensor

    def units(self, width: Width, cut: Cut) -> Tensor:
        """View the entries of a cut as (unit, repeat, block, the other dimensions)."""
        return by_unit(self.tensor.detach().movedim(self.axis, 0), width, cut)


def by_unit(entries: Tensor, width: Width, cut: Cut) -> Tensor:
    """View the entries of a cut, which index the first axis, as (unit, repeat, block, the other dimensions)."""
    own = entries.narrow(0, cut.offset, cut.repeat * width.size * cut.block)
    return own.view(cut.repeat, width.size, cut.block, *entries.shape[1:]).transpose(0, 1)


def slots(net: nn.Module, width: Width, cut: Cut) -> list[Slot]:
    """Tensors of a cut, the weight first; ValueError if the declaration does not fit the network."""
    owner, axes = _look_up(net, width, cut)
    found = [Slot(owner, name, axis) for name, axis in axes.items() if getattr(owner, name) is not None]
    end = cut.offset + cut.repeat * width.size * cut.block
    for slot in found:
        if end > slot.tensor.shape[slot.axis]:
            n_entries = slot.tensor.shape[slot.axis]
            raise ValueError(f"{width.name}: needs {end} entries of {cut.module!r}, {cut.side} side, found {n_entries}")
    return found


def weights(net: nn.Module, width: Width, cut: Cut) -> Tensor:
    """View the weights of a cut as (unit, repeat, block, the other dimensions)."""
    return slots(net, width, cut)[0].units(width, cut)


def dense_weights(net: nn.Module, width: Width, cut: Cut) -> Tensor:
    """View the weights with which a consumer reads the units, of factors their product, with the units first."""
    slot = slots(net, width, cut)[0]
    if not isinstance(slot.owner, FACTORIZED):
        return slot.units(width, cut)
    return by_unit(slot.owner.fold().weight.detach().movedim(1, 0), width, cut)


def shifts(net: nn.Module, width: Width, cut: Cut) -> list[Tensor]:
    """View the biases of a cut as (unit, repeat, block); an empty list if it has none."""
    return [slot.units(width, cut) for slot in slots(net, width, cut) if slot.name == "bias"]


def layer_of(net: nn.Module, width: Width, cut: Cut) -> Any:
    """Look up the layer of a cut."""
    return slots(net, width, cut)[0].owner


def unit_axis(layer: nn.Module) -> int:
    """Axis of a layer's inputs that indexes the units it reads."""
    return 1 if isinstance(layer, _CONVOLUTIONS) else -1


def can_take_constants(layer: nn.Module) -> bool:
    """Whether a constant input is the same at every position: zero padding changes it at the borders."""
    if not isinstance(layer, _CONVOLUTIONS):
        return True
    plain = (nn.Conv1d, nn.Conv2d, FactorizedConv2d, FactorizedConv1x1)  # subclasses may pad before they convolve
    is_plain = type(layer).forward in [kind.forward for kind in plain]
    is_padded = set(layer.kernel_size) != {1} if layer.padding == "same" else layer.padding not in _NO_PADDING
    return is_plain and not (is_padded and layer.padding_mode == "zeros")


def has_new_bias(layer: nn.Module) -> bool:
    """Whether the layer got its bias from `add_bias_`."""
    return bool(marked(layer, "_compressor_new_bias"))


def add_bias_(layer: Any) -> None:
    """Add a bias of zeros to a layer that was built without one."""
    n_out = (
        layer.out_features if isinstance(layer, FactorizedLinear) else layer.weight.shape[axes(layer, "out")["weight"]]
    )
    layer.bias = nn.Parameter(layer.weight.new_zeros(n_out), requires_grad=layer.weight.requires_grad)
    mark_(layer, "_compressor_new_bias", True)


def update_sizes_(layer: nn.Module) -> None:
    """Update the numbers that a layer keeps about its shape, after a cut."""
    match layer:
        case nn.Linear():
            layer.out_features, layer.in_features = layer.weight.shape
        case Conv1D():
            layer.nx, layer.nf = layer.weight.shape
        case nn.Conv1d() | nn.Conv2d():
            n_out, n_in = layer.weight.shape[:2]
            if layer.groups > 1 and n_out != layer.out_channels:  # groups are removed whole
                layer.groups = n_out // (layer.out_channels // layer.groups)
            layer.out_channels, layer.in_channels = n_out, n_in * layer.groups
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            layer.num_features = len(layer.running_mean if layer.weight is None else layer.weight)
        case nn.GroupNorm():
            layer.num_channels = len(layer.weight)
        case nn.LayerNorm():
            layer.normalized_shape = tuple(layer.weight.shape)
        case nn.Embedding():
            layer.embedding_dim = layer.weight.shape[1]


def _look_up(net: nn.Module, width: Width, cut: Cut) -> tuple[nn.Module, dict[str, int]]:
    """Find the module that owns the tensors of a cut, and the axis of each."""
    parent, _, name = cut.module.rpartition(".")
    try:
        owner = net.get_submodule(parent)
        target = getattr(owner, name)
    except AttributeError as error:
        raise ValueError(f"{width.name}: there is no module {cut.module!r}") from error
    if isinstance(target, Tensor) and cut.side == "out":
        return owner, {name: target.ndim - 1}
    taken = axes(target, cut.side)
    if not taken:
        kind = type(target).__name__
        raise ValueError(f"{width.name}: {cut.module!r} is a {kind}; its {cut.side} side cannot be cut")
    return target, taken


def role(layer: nn.Module, name: str, axis: int) -> Role | None:
    """Role of a layer for units along an axis of one of its tensors; None if that axis cannot be cut."""
    if axes(layer, "in").get(name) == axis:
        return "reads"
    if axes(layer, "out").get(name) != axis:
        return None
    is_writer = isinstance(layer, (Constant, Conv1D, nn.Linear, nn.Embedding, *_CONVOLUTIONS, *FACTORIZED))
    return "writes" if is_writer and getattr(layer, "groups", 1) == 1 else "carries"


def axes(layer: Any, side: str) -> dict[str, int]:
    """Axis of each tensor that belongs to a side of a layer; empty if that side cannot be cut."""
    out: dict[str, int]
    match layer:
        case FactorizedLinear() | FactorizedConv2d() | FactorizedEmbedding():
            return layer.axes(side)
        case Constant():
            out, into = {"weight": 1 - layer.in_axis, "bias": 0}, {"weight": layer.in_axis}
        case Conv1D():
            out, into = {"weight": 1, "bias": 0}, {"weight": 0}
        case nn.Linear():
            out, into = {"weight": 0, "bias": 0}, {"weight": 1}
        case nn.Conv1d() | nn.Conv2d() if layer.groups == 1:
            out, into = {"weight": 0, "bias": 0}, {"weight": 1}
        case nn.Conv1d() | nn.Conv2d():  # the inputs of a group are cut with its outputs
            out, into = {"weight": 0, "bias": 0}, {}
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            out, into = dict.fromkeys(("weight", "bias", *_STATISTICS), 0), {}
        case nn.Embedding():
            out, into = {"weight": 1}, {}
        case nn.Module() if _is_norm(layer):
            out, into = {"weight": 0, **({"bias": 0} if hasattr(layer, "bias") else {})}, {}
        case _:
            out, into = {}, {}
    return out if side == "out" else into


def _is_norm(layer: Any) -> bool:
    """Recognise a normalisation with one weight per unit by its type's name, as transformers has many of its own."""
    is_named = isinstance(layer, nn.LayerNorm | nn.GroupNorm) or type(layer).__name__.endswith("Norm")
    return is_named and isinstance(getattr(layer, "weight", None), Tensor) and layer.weight.ndim == 1
