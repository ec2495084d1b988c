"""Choose the rank of each layer: by a share, an error, the loss that it costs, or a penalty on the trace norm."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from compressor import balls, surgery
from compressor.balls import Ball
from compressor.factorizations import Metric, Rank
from compressor.model import Model, logits_of
from compressor.numerics.knapsack import choose
from compressor.numerics.metric import PLAIN
from compressor.options import Calibration
from compressor.plugins import discover
from compressor.surgery import factorizing
from compressor.surgery.factorizing import Candidate
from compressor.training.losses import softened_divergence
from compressor.training.trainer import Trainer

Ranks = dict[str, Rank]
LEVELS = (1 / 3, 1 / 2, 3 / 4, 1.0, 3 / 2, 2.0, 3.0)  # of the budget, tried for each layer
N_HALVINGS = 12  # of the range in which a budget or a threshold is searched


def uniform(model: Model, chosen: Sequence[Candidate], budget: float) -> Ranks:
    """Give every layer the same share of its parameters."""
    return {each.name: each.rank_for(budget, layer) for each, layer in factorizing.folded(model.net, chosen)}


def least_budget(chosen: Sequence[Candidate]) -> float:
    """Give the smallest share of the parameters that every layer can have."""
    low, high = 0.0, 1.0
    for _ in range(N_HALVINGS):
        budget = (low + high) / 2
        try:
            for each in chosen:
                each.rank_for(budget)
            high = budget
        except ValueError:
            low = budget
    return high


def for_error(model: Model, chosen: Sequence[Candidate], metrics: Mapping[str, Metric], most: float) -> Ranks:
    """Give every layer the least rank with which its relative error, in its norm, is at most ``most``.

    A layer whose factors would have more parameters than itself is left out.
    """
    ranks: Ranks = {}
    for each, layer in factorizing.folded(model.net, chosen):
        metric, weight = metrics.get(each.name, PLAIN), factorizing.weight_of(layer).flatten(1)
        low, high = 0.0, 1.0
        for _ in range(N_HALVINGS):
            budget = (low + high) / 2
            try:
                rank = each.rank_for(budget)
            except ValueError:  # below the smallest rank
                low = budget
                continue
            approximation = factorizing.weight_of(each.factorized(layer, rank, metric).fold()).flatten(1)
            if metric.error(weight, approximation) <= most:
                high, ranks[each.name] = budget, rank
            else:
                low = budget
    return ranks


def by_loss(
    model: Model,
    chosen: Sequence[Candidate],
    metrics: Mapping[str, Metric],
    budget: float,
    rows: Calibration,
    trainer: Trainer,
) -> Ranks:
    """Spread a budget so that the losses that the layers' levels cost, each measured alone, have the least sum.

    The loss is the divergence of the logits from those of the network as it is, on calibration rows. A layer that is
    best left as it is, is left out.
    """
    batches = trainer.calibration(rows)
    before = [logits_of(model)(batch) for batch in batches]
    costs, damages, levels = [], [], []
    for each in chosen:
        own = _levels(each, budget)
        levels.append(own)
        costs.append([each.n_weights if rank is None else each.n_params(rank) for rank in own])
        damages.append([_damage(model, each, rank, metrics, batches, before) for rank in own])
    taken = choose(damages, costs, budget * sum(each.n_weights for each in chosen))
    best = {each.name: own[level] for each, own, level in zip(chosen, levels, taken, strict=True)}
    return {name: rank for name, rank in best.items() if rank is not None}


def _levels(each: Candidate, budget: float) -> list[Rank | None]:
    """List ranks around the budget, and None for the layer as it is."""
    ranks: list[Rank | None] = [None]
    for level in LEVELS:
        try:
            rank = each.rank_for(level * budget) if level * budget < 1 else None
        except ValueError:  # below the smallest rank
            continue
        if rank not in ranks:
            ranks.append(rank)
    return ranks


def _damage(
    model: Model,
    each: Candidate,
    rank: Rank | None,
    metrics: Mapping[str, Metric],
    batches: Sequence[Mapping[str, Tensor]],
    before: Sequence[Tensor],
) -> float:
    """Measure the divergence of the logits when one layer alone has a rank."""
    if rank is None:
        return 0.0
    layer = model.net.get_submodule(each.name)
    surgery.replace_(model.net, each.name, each.factorized(factorizing.dense(layer), rank, metrics.get(each.name)))
    logits = logits_of(model)
    total = sum(
        float(softened_divergence(logits(batch), answer, 1.0)) * len(answer)
        for batch, answer in zip(batches, before, strict=True)
    )
    surgery.replace_(model.net, each.name, layer)
    return total / sum(map(len, before))


@torch.no_grad()
def left_by_penalty_(model: Model, chosen: Sequence[Candidate], metrics: Mapping[str, Metric], budget: float) -> Ranks:
    """Project every weight onto a trace-norm ball, in its norm, and give the ranks that are left.

    One threshold on the singular values, relative to the largest of each layer, serves all layers; it is the least
    with which the factors of all of them are within the budget. The layers of the network become dense.

    References
    ----------
    .. [1] B. Mishra, G. Meyer, F. Bach, R. Sepulchre, "Low-rank optimization with trace norm penalty", 2013,
       arXiv:1112.2318.
    """
    layers = {each.name: layer for each, layer in factorizing.folded(model.net, chosen)}
    whitened = {
        each.name: metrics.get(each.name, PLAIN).whiten(factorizing.weight_of(layers[each.name])) for each in chosen
    }
    values = {name: torch.linalg.svdvals(matrix) for name, matrix in whitened.items()}
    most = budget * sum(each.n_weights for each in chosen)
    threshold = _threshold(chosen, values, most)
    ball = next(file for file in discover(balls, Ball).values() if file.ZEROES == "ranks")
    for each in chosen:
        radius = float((values[each.name] - threshold * values[each.name].max()).clamp(min=0).sum())
        metric, layer = metrics.get(each.name, PLAIN), layers[each.name]
        projected = ball.project(whitened[each.name], radius)
        _set_weight_(layer, metric.unwhiten_columns(metric.unwhiten_rows(projected)))
        surgery.replace_(model.net, each.name, layer)
    return {name: max(1, int((own > threshold * own.max()).sum())) for name, own in values.items()}


def _threshold(chosen: Sequence[Candidate], values: Mapping[str, Tensor], most: float) -> float:
    """Search the least share of the largest singular value at which what is above it is within the budget."""
    low, high = 0.0, 1.0
    for _ in range(3 * N_HALVINGS):
        middle = (low + high) / 2
        ranks = {name: max(1, int((own > middle * own.max()).sum())) for name, own in values.items()}
        is_within = sum(each.n_params(ranks[each.name]) for each in chosen) <= most
        low, high = (low, middle) if is_within else (middle, high)
    return high


def _set_weight_(layer: nn.Module, matrix: Tensor) -> None:
    weight = layer.get_parameter("weight")
    weight.copy_((matrix.T if isinstance(layer, factorizing.Conv1D) else matrix).to(weight))
