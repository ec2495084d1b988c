"""In which norm each layer's error counts, from calibration rows."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from compressor import surgery
from compressor.factorizations import Metric, diagonal, fisher, second_moment
from compressor.model import Model, outputs_of
from compressor.options import Calibration
from compressor.surgery import factorizing
from compressor.surgery.factorizing import Candidate
from compressor.surgery.moments import Moments, recording
from compressor.training.trainer import Trainer

Norm = Literal["weight", "activation", "diagonal", "fisher"]


def look(model: Model, chosen: Sequence[Candidate], rows: Calibration, trainer: Trainer) -> dict[str, Moments]:
    """Record what the layers read on calibration rows."""
    outputs = outputs_of(model)
    with recording(model.net, {each.name: model.net.get_submodule(each.name) for each in chosen}) as found:
        for batch in trainer.calibration(rows):
            outputs(batch)
    return found


def metrics_of(chosen: Sequence[Candidate], norm: Norm, seen: Mapping[str, Moments]) -> dict[str, Metric]:
    """Make the norms that follow from what layers read; none for the plain norm, for convolutions, and in a dry run."""
    metrics = {}
    for each in chosen:
        if norm == "weight" or each.is_convolution or each.name not in seen:
            continue
        moments = seen[each.name]
        if each.kind == "embedding":
            metrics[each.name] = fisher(moments.total + 1)  # of each row how often it is looked up
        elif norm == "activation":
            metrics[each.name] = second_moment(moments.second)
        else:
            metrics[each.name] = diagonal(moments.second.diagonal().sqrt())
    return metrics


def fisher_of(model: Model, chosen: Sequence[Candidate], rows: Calibration, trainer: Trainer) -> dict[str, Metric]:
    """Make the norms that weigh rows by their squared gradients, summed over calibration rows with labels."""
    for candidate, layer in factorizing.folded(model.net, chosen):
        surgery.replace_(model.net, candidate.name, layer)
    layers = {each.name: model.net.get_submodule(each.name) for each in chosen if not each.is_convolution}
    sums = {name: torch.zeros(len(factorizing.weight_of(layer)), dtype=torch.float64) for name, layer in layers.items()}
    for batch in trainer.calibration(rows):
        labels = batch.pop("labels")
        model.task.file.loss(model.net(**batch), labels, 1.0).backward()
        for name, layer in layers.items():
            sums[name] += _by_row(layer)
        model.net.zero_grad(set_to_none=True)
    return {name: fisher(squares) for name, squares in sums.items() if bool(squares.any())}


def _by_row(layer: torch.nn.Module) -> Tensor:
    """Sum the squared gradients over each row of a layer's matrix."""
    weight = layer.get_parameter("weight")
    gradient = weight.new_zeros(weight.shape) if weight.grad is None else weight.grad
    axis = 0 if isinstance(layer, factorizing.Conv1D) else 1
    return gradient.double().square().sum(dim=axis)
