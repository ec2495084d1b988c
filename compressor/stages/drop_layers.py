"""Remove whole layers; what is left must be retrained."""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from compressor.data import batch_order
from compressor.errors import RecipeError
from compressor.losses import task_loss
from compressor.model import Model, logits_of
from compressor.options import Base
from compressor.train import Context

N_EXAMPLES = 512  # of the held-out share, for the damage of a removal


class Options(Base):
    """Recipe keys of the `drop_layers` stage."""

    stage: Literal["drop_layers"]
    keep: tuple[int, ...] | None = None
    """Indices of the layers that stay."""
    n_layers: int | None = Field(default=None, ge=1)
    """Number of layers that stay; which ones is decided by measured damage on the held-out share."""

    @model_validator(mode="after")
    def _one_way(self) -> "Options":
        if (self.keep is None) == (self.n_layers is None):
            raise ValueError("give either 'keep' or 'n_layers'")
        if self.keep is not None and (not self.keep or list(self.keep) != sorted(set(self.keep))):
            raise ValueError(f"'keep' lists layers once each, in rising order, got {list(self.keep)}")
        return self


def run(model: Model, options: Options, context: Context) -> Model:
    """Keep the chosen layers, in their order; the network computes something else afterwards."""
    n_layers = len(model.arch.blocks(model.net))
    if max(options.keep or (0,)) >= n_layers or (options.n_layers or 0) > n_layers:
        raise RecipeError(
            f"drop_layers: the network has {n_layers} layers, counted from 0, got {options.keep or options.n_layers}"
        )
    keep = options.keep if options.keep is not None else _least_damage(model, options.n_layers or n_layers, context)
    origin = model.layers
    _set_layers_(model, keep)
    model.record([origin[i] for i in keep])
    context.log(kept_layers=list(model.layers))
    return model


def _least_damage(model: Model, n_layers: int, context: Context) -> tuple[int, ...]:
    """Remove one layer at a time, each time the one without which the held-out loss is lowest."""
    keep = tuple(range(len(model.arch.blocks(model.net))))
    if context.is_dry:
        return keep[:n_layers]
    layers = _layers(model)
    while len(keep) > n_layers:
        losses = {}
        for dropped in keep:
            _set_layers_(model, [i for i in keep if i != dropped], layers)
            losses[dropped] = _held_out_loss(model, context)
        keep = tuple(i for i in keep if i != min(losses, key=losses.__getitem__))
    _set_layers_(model, range(len(layers)), layers)
    return keep


def _held_out_loss(model: Model, context: Context) -> float:
    """Mean cross-entropy on part of the held-out share."""
    logits, split = logits_of(model), context.data.held_out
    generator = torch.Generator().manual_seed(context.seed)
    total, n_seen = 0.0, 0
    for indices in batch_order(split, 64, generator):
        batch = split.batch(indices)
        total += float(task_loss(logits(batch), batch["labels"])) * len(indices)
        n_seen += len(indices)
        if n_seen >= N_EXAMPLES:
            break
    return total / n_seen


def _layers(model: Model) -> list[nn.Module]:
    return [model.net.get_submodule(name) for name in model.arch.blocks(model.net)]


def _set_layers_(model: Model, keep: Iterable[int], layers: Sequence[nn.Module] | None = None) -> None:
    """Put the chosen layers, of these or of the present ones, into the network's list of layers."""
    kept = [(layers or _layers(model))[i] for i in keep]
    parent, _, name = model.arch.blocks(model.net)[0].rpartition(".")[0].rpartition(".")
    setattr(model.net.get_submodule(parent), name, nn.ModuleList(kept))
    model.net.config.num_hidden_layers = len(kept)
