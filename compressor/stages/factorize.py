"""Replace layers by products of smaller ones, at a rank that a budget, a number or an error allows."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from compressor import factorizations, surgery
from compressor.factorizations import Metric, Rank
from compressor.measure.prices import Prices
from compressor.model import Model
from compressor.nn import FactorizedConv2d, FactorizedEmbedding
from compressor.numerics.metric import PLAIN
from compressor.options import Calibration, Share, Target
from compressor.plugins import one_of
from compressor.surgery import factorizing
from compressor.surgery.factorizing import Candidate
from compressor.surgery.moments import Moments
from compressor.targets.budgeting import share_for
from compressor.training import norms, ranks
from compressor.training.context import Context
from compressor.training.options import Retrain, StageOptions

TABLE = "operations.json"


class Options(StageOptions):
    """Recipe keys of the `factorize` stage."""

    stage: Literal["factorize"]
    method: Annotated[str, one_of(factorizations)] | None = None
    """Factorization; by default `svd` for linear layers and 1x1 convolutions, and `tucker` for other convolutions."""
    form: dict[str, Any] | None = None
    """Arguments of the method's own, such as `blocks: [4, 4]` of `monarch`; `modes: [[32, 48], [16, 24]]` divides the
    rows and columns of a weight for a method of tensors."""
    layers: tuple[str, ...] | None = None
    """Patterns of paths of layers; by default the linear layers and convolutions of the network's blocks. Tables of
    embeddings and output layers must be named."""
    budget: Annotated[Share, Field(gt=0, lt=1)] | None = None
    """Share of the parameters of the chosen layers that is left."""
    target: Target | None = None
    """Instead of a budget: a latency, a size or a count that decides it."""
    rank: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], ...] | Literal["penalty"] | None = None
    """Instead of a budget: the rank of every layer. `penalty`, with a budget: the singular values of all layers are
    projected onto trace-norm balls, round by round, and the rank that is left is kept."""
    error: Annotated[Share, Field(gt=0, lt=1)] | None = None
    """Instead of a budget: the largest relative error of each layer, in its norm."""
    norm: norms.Norm | None = None
    """Norm of the error: `weight` (Frobenius), `activation` (of the layer's output on calibration rows), `diagonal`
    (columns scaled by the size of what they read) or `fisher` (rows scaled by their squared gradients). By default
    `activation`; convolutions take `weight` only."""
    allocate: Literal["uniform", "loss"] = "uniform"
    """How a budget is spread: the same share for each layer, or by the loss that each level of each layer costs."""
    rounds: int = Field(default=1, ge=1, le=1000)
    """Number of factorizations, each with a lower rank than the one before, up to the last."""
    retrain: Retrain | None = None
    """The training phase after each of them; none by default."""
    if_slower: Literal["fold", "keep"] = "fold"
    """What becomes of a layer that is predicted to be slower than the dense one on this machine: `fold` multiplies its
    factors again."""
    calibration: Calibration = Calibration()
    """Rows on which the norms and the losses are measured."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Options":
        goals = [self.budget, self.target, self.error, None if self.rank == "penalty" else self.rank]
        if sum(goal is not None for goal in goals) != 1:
            raise ValueError("give exactly one of 'budget', 'target', 'rank' and 'error'; rank: penalty takes a budget")
        if self.target is not None and self.target.cost_table is not None:
            raise ValueError("a cost_table is of units, not of ranks; leave it out of the target, and measure here")
        if self.rank == "penalty" and self.budget is None:
            raise ValueError("rank: penalty takes a budget; give 'budget' in place of 'error'")
        has_budget = self.budget is not None or self.target is not None
        if self.allocate == "loss" and (not has_budget or self.rank == "penalty"):
            raise ValueError("allocate: loss spreads a budget, and rank: penalty does so itself; give 'budget' alone")
        if self.rank == "penalty" and (self.method not in (None, "svd") or self.retrain is None):
            raise ValueError(
                "rank: penalty works on singular values, in rounds of training; give method: svd and 'retrain'"
            )
        if self.rounds > 1 and (self.retrain is None or not has_budget):
            raise ValueError("'rounds' needs a 'budget' that falls and training between; give 'budget' and 'retrain'")
        return self

    def phases(self) -> Sequence[Retrain]:
        """Return the phase of each round."""
        return () if self.retrain is None else (self.retrain,) * self.rounds

    def aim(self) -> Target | None:
        """Return the target."""
        return self.target

    def budget_after(self, round_: int) -> float:
        """Share of the parameters after a round: it falls evenly."""
        return 1 - (1 - (self.budget or 0.0)) * (round_ + 1) / self.rounds


def run(model: Model, options: Options, context: Context) -> Model:
    """Factorize the chosen layers; those that would be slower than before are multiplied out again."""
    chosen = factorizing.candidates(model.net, model.hidden, options.layers, options.method, options.form or {})
    if options.target is not None:
        budget = _budget(model, chosen, options, options.target, context)
        options = options.model_copy(update={"budget": budget, "target": None})
    _check(model, chosen, options)
    for round_ in context.rounds(model, options.rounds):
        seen = norms.look(model, chosen, options.calibration, context.trainer)
        metrics = _metrics(model, chosen, seen, options, context)
        wanted = _ranks(model, chosen, metrics, options, context, round_)
        errors = _factorize_(model, chosen, wanted, metrics, seen, options)
        trained = {} if options.retrain is None else {"loss": context.trainer.fit(model, options.retrain)}
        numbers = {"n_params": surgery.n_params(model.net), "largest_error": max(errors.values(), default=0.0)}
        context.journal.log(round=round_, **numbers, **trained, **context.trainer.evaluate(model))
    folded = _fold_slower_(model, chosen, options, context)
    model.record(model.layers)
    context.journal.write_json("factorized.json", {"layers": surgery.specs(model.net), "folded": folded})
    return model


def _budget(model: Model, chosen: Sequence[Candidate], options: Options, target: Target, context: Context) -> float:
    """Find the budget for a target, on copies of the network with about the ranks that it will have."""

    def build(budget: float) -> Model:
        copy = model.copy()
        _factorize_(copy, chosen, ranks.uniform(copy, chosen, budget), {}, {}, options)
        _fold_slower_(copy, chosen, options, context)
        return copy

    return share_for(model, build, ranks.least_budget(chosen), target, context)


def _check(model: Model, chosen: Sequence[Candidate], options: Options) -> None:
    """Refuse what the layers cannot be given, before anything is measured."""
    factorizing.check_tables(model.net, chosen)
    for each in chosen:
        if each.kind == "conv2d" and options.norm not in (None, "weight"):
            raise ValueError(f"norm: {each.name!r} is a convolution, which takes norm: weight, got {options.norm!r}")
        if options.rank == "penalty" and each.kind != "linear":
            raise ValueError(f"rank: penalty is for linear layers, and {each.name!r} is none; name the layers")
        if options.budget is not None:
            each.rank_for(options.budget)


def _metrics(
    model: Model, chosen: Sequence[Candidate], seen: Mapping[str, Moments], options: Options, context: Context
) -> dict[str, Metric]:
    if options.norm == "fisher":
        return norms.fisher_of(model, chosen, options.calibration, context.trainer)
    return norms.metrics_of(chosen, options.norm or "activation", seen)


def _ranks(
    model: Model,
    chosen: Sequence[Candidate],
    metrics: Mapping[str, Metric],
    options: Options,
    context: Context,
    round_: int,
) -> dict[str, Rank]:
    """Choose the rank of each layer in this round; a layer without one stays dense."""
    budget = options.budget_after(round_)
    if options.rank == "penalty":
        return ranks.left_by_penalty_(model, chosen, metrics, budget)
    if options.rank is not None:
        return {each.name: options.rank for each in chosen}
    if options.error is not None:
        return ranks.for_error(model, chosen, metrics, options.error)
    if options.allocate == "loss" and not context.is_dry:
        return ranks.by_loss(model, chosen, metrics, budget, options.calibration, context.trainer)
    return ranks.uniform(model, chosen, budget)


def _factorize_(
    model: Model,
    chosen: Sequence[Candidate],
    wanted: Mapping[str, Rank],
    metrics: Mapping[str, Metric],
    seen: Mapping[str, Moments],
    options: Options,
) -> dict[str, float]:
    """Put the factorized layers in, and give the relative error of each in its norm."""
    errors = {}
    for each, layer in factorizing.folded(model.net, chosen):
        if each.name not in wanted:
            surgery.replace_(model.net, each.name, layer)
            continue
        has_mean = each.kind == "linear" and each.name in seen and options.norm in (None, "activation")
        mean = seen[each.name].mean if has_mean else None
        made = each.factorized(layer, wanted[each.name], metrics.get(each.name), mean)
        surgery.replace_(model.net, each.name, made)
        weight, rebuilt = (factorizing.weight_of(one).flatten(1) for one in (layer, made.fold()))
        errors[each.name] = metrics.get(each.name, PLAIN).error(weight, rebuilt)
    return errors


def _fold_slower_(model: Model, chosen: Sequence[Candidate], options: Options, context: Context) -> dict[str, float]:
    """Multiply out the layers that are predicted to be slower than dense ones, and give the predictions of these."""
    if options.if_slower == "keep" or context.is_dry:
        return {}
    seen = norms.look(model, chosen, Calibration(examples=64), context.trainer)
    prices, folded = Prices(context.folder / TABLE), {}
    for name, layer in surgery.factorized(model.net).items():
        if isinstance(layer, FactorizedEmbedding) or name not in seen:
            continue
        size = seen[name].places if isinstance(layer, FactorizedConv2d) else (round(seen[name].n_vectors_per_row),)
        ratio = prices.total(layer.operations(*size)) / prices.total(layer.dense_operations(*size))
        if ratio >= 1:
            folded[name] = ratio
            surgery.replace_(model.net, name, layer.fold())
    if folded:
        context.journal.log(folded=len(folded), predicted_ratio=min(folded.values()))
    return folded
