"""Choose units by a criterion, solve for the weights of the others again, and zero them: no training needed."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator

from compressor import criteria, surgery
from compressor.criteria import Criterion, State
from compressor.model import Model
from compressor.options import Calibration, Share, Target
from compressor.plugins import discover, one_of
from compressor.pruning import allocation, choice, collecting
from compressor.pruning.allocation import Kept
from compressor.pruning.choice import Allocate, Judgement, Update
from compressor.pruning.denormals import flushing_denormals
from compressor.pruning.replay import Batches
from compressor.surgery import Width, readers
from compressor.surgery.widths import select_usual
from compressor.targets import damages, reaching
from compressor.targets.reaching import units_for
from compressor.training.context import Context
from compressor.training.options import Retrain, StageOptions


class Options(StageOptions):
    """Recipe keys of the `prune` stage."""

    stage: Literal["prune"]
    criterion: Annotated[str, one_of(criteria)] = "hessian"
    """How much a unit matters: `hessian` (the error of what its consumers compute, where the weights of the others make
    up for it), `fisher` (second-order change of the loss), `taylor` (first-order), `activation`, `none` (the weights
    alone), `random`, or, with `retrain`, `movement` and `hard_concrete`."""
    widths: tuple[str, ...] | None = None
    """Patterns of names of widths; by default `*.ffn`, `*.heads` and `*.channels`, as far as the network has them."""
    column_sparsity: Annotated[Share, Field(gt=0, lt=1)] | None = None
    """Share of the floating-point operations of the chosen widths that is removed."""
    target: Target | None = None
    """Instead of a sparsity: a latency, a size or a count that decides how many units each width keeps."""
    allocate: Allocate = "loss"
    """How the rest is spread over the widths: the same share of each, by one threshold on the scores per operation, or
    by a table of the divergence of the outputs that each level of each width costs."""
    update: Update = "least_squares"
    """Whether the weights of the consumers are solved for again, so that their outputs on calibration rows stay."""
    calibration: Calibration = Calibration()
    """Rows on which units are judged and weights are solved for."""
    rounds: int = Field(default=1, ge=1, le=1000)
    """Number of choices; what is removed grows evenly up to the last."""
    retrain: Retrain | None = None
    """The training phase after each of them; none by default."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Options":
        if self.file.READS == "training" and self.retrain is None:
            raise ValueError(f"criterion {self.criterion!r} judges units while they are trained; give 'retrain'")
        if (self.column_sparsity is None) == (self.target is None):
            raise ValueError("give one of 'column_sparsity' and 'target'")
        if self.target is not None and self.file.READS == "training":
            raise ValueError(f"criterion {self.criterion!r} is trained towards a sparsity; give 'column_sparsity'")
        if self.target is not None and self.allocate == "uniform":
            raise ValueError("a target chooses the share of each width; take allocate: score or loss")
        return self

    @property
    def file(self) -> Criterion:
        """The file that judges the units."""
        return discover(criteria, Criterion)[self.criterion]

    def aim(self) -> Target | None:
        """Return the target."""
        return self.target

    def left_after(self, round_: int) -> float:
        """Share of the operations that is left after a round of a sparsity: it falls evenly."""
        return 1 - (self.column_sparsity or 0.0) * (round_ + 1) / self.rounds

    def phases(self) -> Sequence[Retrain]:
        """Return the phase of each round, and the one before the first that a criterion may need."""
        return () if self.retrain is None else (self.retrain,) * (self.rounds + (self.file.READS == "training"))


def run(model: Model, options: Options, context: Context) -> Model:
    """Zero the units that matter least, and let the others make up for them; `shrink` removes them.

    What is collected, chosen and solved for in a round depends on the weights and the seed alone.
    """
    widths = select_usual(model.widths(), options.widths)
    if options.update != "none" or options.file.OWN_ORDER:
        readers.require_plain(model.net, readers.names(widths))
    state = context.journal.state if options.file.READS == "training" else {}
    state |= options.file.start(widths, context.seed)
    model.net.eval()
    for round_ in context.rounds(model, options.rounds):
        if options.retrain is not None and options.file.READS == "training" and round_ == 0:
            goal = 1 - options.left_after(round_)
            collecting.fit_(model, widths, options.file, state, context.trainer, options.retrain, goal)
        with flushing_denormals():
            _cut_(model, widths, round_, options, context, state)
        trained = _train_(model, widths, round_, options, context, state)
        n_dead = sum(int(surgery.dead_units(model.net, width).sum()) for width in widths)
        n_units = sum(width.size for width in widths)
        score = context.trainer.evaluate(model)
        context.journal.log(round=round_, dead_units=n_dead, units=n_units, **trained, **score)
    return model


def _cut_(model: Model, widths: Sequence[Width], round_: int, options: Options, context: Context, state: State) -> None:
    """Choose units so that a share of the operations is left, zero the others, and solve for the weights."""
    batches = context.trainer.calibration(options.calibration)
    if context.is_dry:  # which units go is not known; so many of each width do
        judgement = Judgement(widths, {width.name: torch.arange(width.size) for width in widths})
        choice.cut_(
            model, judgement, _kept_dry(model, widths, options.left_after(round_), options, context), "none", []
        )
        return
    judgement = choice.judge(model, widths, options.file, options.criterion, state, batches)
    kept = _allocate(model, judgement, round_, options, context, batches)
    choice.cut_(model, judgement, kept, options.update, batches)


def _kept_dry(model: Model, widths: Sequence[Width], share: float, options: Options, context: Context) -> Kept:
    """Choose as many units as the target leaves, or the same share of each width."""
    if options.target is None:
        return allocation.uniform(widths, share)
    return units_for(model, widths, damages.even(widths), options.target, context)


def _allocate(
    model: Model, judgement: Judgement, round_: int, options: Options, context: Context, batches: Batches
) -> Kept:
    """Choose how many units each width keeps after a round; before the last, proportionally more for a target."""
    final = reaching.kept_units(context) if options.target is not None else None  # chosen in the first round
    measured = None
    if options.allocate == "loss" and final is None:
        measured = choice.measured(model, judgement, options.update, batches, context.trainer.judged())
    if options.target is None:
        return choice.kept_by_flops(model, judgement, options.left_after(round_), options.allocate, measured)
    if final is None:
        suffered = damages.of_losses(judgement.widths, judgement.losses)
        if measured is not None:
            suffered = {name: dict(zip(own, measured[name], strict=True)) for name, own in judgement.levels.items()}
        final = units_for(model, judgement.widths, suffered, options.target, context)
    progress = (round_ + 1) / options.rounds
    return {width.name: width.size - round(progress * (width.size - final[width.name])) for width in judgement.widths}


def _train_(
    model: Model, widths: Sequence[Width], round_: int, options: Options, context: Context, state: State
) -> dict[str, float]:
    """Train after a choice, and collect for the next one, if there is one."""
    if options.retrain is None:
        return {}
    goal = 1 - options.left_after(round_ + 1) if round_ + 1 < options.rounds else None
    if options.file.READS == "training" and goal is not None:
        state |= options.file.start(widths, context.seed)
    judged = goal if options.file.READS == "training" else None
    return {"loss": collecting.fit_(model, widths, options.file, state, context.trainer, options.retrain, judged)}
