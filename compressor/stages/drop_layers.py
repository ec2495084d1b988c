"""Remove whole layers; the remaining network must be retrained."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import nn

from compressor import surgery
from compressor.archs import renumber_
from compressor.errors import RecipeError
from compressor.model import Model
from compressor.training.context import Context
from compressor.training.options import StageOptions


class Options(StageOptions):
    """Recipe keys of the `drop_layers` stage."""

    stage: Literal["drop_layers"]
    keep: tuple[int, ...] | None = None
    """Indices of the layers to keep."""
    n_layers: int | None = Field(default=None, ge=1)
    """Number of layers to keep; the layers whose removal increases the loss on the held-out share least are removed."""

    @model_validator(mode="after")
    def _one_way(self) -> "Options":
        if (self.keep is None) == (self.n_layers is None):
            raise ValueError("give either 'keep' or 'n_layers'")
        if self.keep is not None and (not self.keep or list(self.keep) != sorted(set(self.keep))):
            raise ValueError(f"'keep' must list each layer once, in increasing order, got {list(self.keep)}")
        return self


@dataclass(frozen=True)
class Stack:
    """The layers of a network, all in one list, and their types in its config."""

    layers: list[nn.Module]
    types: list[str] | None

    def fits(self, keep: Sequence[int]) -> bool:
        """Whether each kept layer has the tensors and factors of the layer whose place it takes.

        A config can rebuild nothing else: GPT-2 may divide its attention by the number of the layer.
        """
        built = [(_tensors(layer), _scales(layer)) for layer in self.layers]
        return all(built[at] == built[kept] for at, kept in enumerate(keep))


def run(model: Model, options: Options, context: Context) -> Model:
    """Keep the chosen layers, in their order; this changes the network's outputs."""
    stack = _stack(model)
    n_layers = len(stack.layers)
    if max(options.keep or (0,)) >= n_layers or (options.n_layers or 0) > n_layers:
        raise RecipeError(
            f"drop_layers: the network has {n_layers} layers, counted from 0, got {options.keep or options.n_layers}"
        )
    keep = options.keep or _least_damage(model, stack, options.n_layers or n_layers, context)
    if not stack.fits(keep):
        family = repr(model.net.config.model_type)
        what = f"layers of {family} are built by their place, and {list(keep)} would change it; keep the first ones"
        if 0 not in keep:
            what = f"the first layer of {family} differs from the others and must be kept"
        raise RecipeError(f"drop_layers: {what}")
    origin = model.layers
    _set_layers_(model, stack, keep)
    model.record([origin[i] for i in keep])
    context.journal.log(kept_layers=list(model.layers))
    return model


def _stack(model: Model) -> Stack:
    """Return the layers of a network; refuse it if its config cannot record how many are left."""
    config, blocks = model.net.config, model.arch.blocks(model.net)
    lists = {name.rpartition(".")[0] for name in blocks}
    if len(lists) != 1 or len(blocks) != getattr(config, "num_hidden_layers", None):
        raise RecipeError(
            f"drop_layers: the layers of {config.model_type!r} are shared, or are in several stages; leave it out"
        )
    return Stack([model.net.get_submodule(name) for name in blocks], getattr(config, "layer_types", None))


def _tensors(layer: nn.Module) -> set[str]:
    return set(layer.state_dict()) - {f"{name}.bias" for name in surgery.new_biases(layer)}


def _scales(layer: nn.Module) -> dict[str, float]:
    """Collect the factors that the modules of a layer were built with."""
    return {
        f"{name}.{key}": value
        for name, module in layer.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, float)
    }


def _least_damage(model: Model, stack: Stack, n_layers: int, context: Context) -> tuple[int, ...]:
    """Remove one layer at a time: always the one whose removal leaves the lowest held-out loss."""
    keep = tuple(range(len(stack.layers)))
    while len(keep) > n_layers:
        losses = {}
        for fewer in combinations(keep, len(keep) - 1):
            if stack.fits(fewer):
                _set_layers_(model, stack, fewer)
                losses[fewer] = context.trainer.held_out_loss(model)
        keep = min(losses, key=losses.__getitem__)
    _set_layers_(model, stack, range(len(stack.layers)))
    return keep


def _set_layers_(model: Model, stack: Stack, keep: Sequence[int]) -> None:
    """Put the kept layers into the network's list, and update its config and their indices."""
    parent, _, name = model.arch.blocks(model.net)[0].rpartition(".")[0].rpartition(".")
    setattr(model.net.get_submodule(parent), name, nn.ModuleList(stack.layers[i] for i in keep))
    model.net.config.num_hidden_layers = len(keep)
    if stack.types is not None:
        model.net.config.layer_types = [stack.types[i] for i in keep]
    for position, kept in enumerate(keep):
        modules: Iterable[Any] = stack.layers[kept].modules()  # Any: torch types every attribute as a Tensor or Module
        for module in modules:
            if hasattr(module, "layer_idx"):  # its place in a decoder's cache
                module.layer_idx = position
    renumber_(model.arch, model.net)
