"""Importance of each unit of a width: its mean activation, or a first-order estimate of the loss without it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from compressor.surgery import layers
from compressor.surgery.widths import Cut, Width

Scores = dict[str, Tensor]


def no_scores(widths: Iterable[Width]) -> Scores:
    """Start an accumulation: zero for each unit of each width."""
    return {f"importance.{width.name}": torch.zeros(width.size, dtype=torch.float64) for width in widths}


@torch.no_grad()
def add_taylor_(scores: Scores, net: nn.Module, widths: Iterable[Width]) -> None:
    """Add the first-order change of the loss if a unit were zeroed, |sum w dL/dw| over the weights that read it.

    The sum equals activation x gradient summed over the batch, so no activation needs to be recorded
    (Molchanov et al. 2019, arXiv:1906.10771). Gradients must be those of one step.
    """
    for width in widths:
        total = torch.zeros(width.size, dtype=torch.float64)
        for cut in width.consumers:
            weight = layers.slots(net, width, cut)[0]
            if weight.tensor.grad is not None:
                change = (weight.tensor * weight.tensor.grad).movedim(weight.axis, 0)
                total += layers.by_unit(change, width, cut).flatten(1).sum(dim=1).double().cpu()
        scores[f"importance.{width.name}"] += total.abs()


@contextmanager
def adding_activations(scores: Scores, net: nn.Module, widths: Iterable[Width]) -> Iterator[None]:
    """While open, add the mean magnitude of each unit's output, as its first consumer reads it."""
    handles = []
    for width in widths:
        cut = width.consumers[0]

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], width: Width = width, cut: Cut = cut) -> None:
            per_entry = inputs[0].detach().abs().movedim(layers.unit_axis(module), 0).flatten(1).double().mean(dim=1)
            scores[f"importance.{width.name}"] += layers.by_unit(per_entry, width, cut).flatten(1).mean(dim=1).cpu()

        handles.append(net.get_submodule(cut.module).register_forward_pre_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def has_scores(scores: Mapping[str, Tensor], widths: Iterable[Width]) -> bool:
    """Whether anything was accumulated for these widths; nothing is in a dry run."""
    return any(bool(scores[f"importance.{width.name}"].any()) for width in widths)


def of(scores: Mapping[str, Tensor], widths: Iterable[Width]) -> Tensor:
    """Scores of all units of the widths, scaled to a mean of one."""
    joined = torch.cat([scores[f"importance.{width.name}"] for width in widths])
    return joined / joined.mean()
