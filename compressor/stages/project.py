"""Pull the columns of chosen widths into a norm ball, retrain, and repeat."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from compressor import balls, criteria, surgery
from compressor.balls import Ball
from compressor.criteria import Criterion
from compressor.errors import InputError, NumericsError
from compressor.model import Model, open_model
from compressor.options import Share, Target
from compressor.plugins import discover, one_of
from compressor.pruning import collecting, contests
from compressor.pruning.contests import Contest
from compressor.surgery import Width
from compressor.surgery.widths import select_usual
from compressor.targets import damages
from compressor.targets.reaching import units_for
from compressor.training.context import Context
from compressor.training.options import Retrain, StageOptions

MOST_ROUNDS = 1000  # each has a retraining phase and is saved; the schedules rise over tens of rounds
Fraction = Annotated[Share, Field(gt=0, lt=1)]


class Options(StageOptions):
    """Recipe keys of the `project` stage."""

    stage: Literal["project"]
    ball: Annotated[str, one_of(balls)] = "l1_inf"
    """Norm ball onto which the columns are projected."""
    widths: tuple[str, ...] | None = None
    """Patterns of names of widths; by default `*.ffn`, `*.heads` and `*.channels`, as far as the network has them. A
    width that crosses the units of others, such as `layer.0.head_dims` or `residual`, is selected only by a pattern
    that contains its last word."""
    column_sparsity: Fraction | dict[str, Fraction] | None = None
    """Fraction of the units that are zero after the last round: one number, or one per pattern of widths."""
    target: Target | None = None
    """Instead of a sparsity: a latency, a size or a count that decides the sparsity of each width. What a width
    suffers is the share of its squared column norms that goes."""
    radius: float | None = Field(default=None, ge=0)
    """Instead of a sparsity: radius of the ball, in the unit of the weights."""
    radius_fraction: Fraction | None = None
    """Instead of a sparsity: radius as a fraction of the norm of the weights at the start of the stage."""
    scope: Literal["width", "global"] = "width"
    """`width`: every width reaches the sparsity; `global`: all units of one kind share one threshold."""
    min_units: Annotated[int, Field(ge=0)] | Fraction = 1
    """Minimum per width: a number of units, or a fraction of the width; with 0 a whole width may become zero."""
    side: surgery.Side = "both"
    """Which weights of a unit form its column."""
    importance: Annotated[str, one_of(criteria)] = "none"
    """Criterion by which columns are scaled before the projection, so that the units with the lowest scores go first.
    `none`: the weights as they are; `activation`: times the mean magnitude of the output of the unit; with the others
    the norm of a column is the score of its unit: `taylor` (first-order change of the loss if the unit is removed),
    `fisher` (second-order), `movement` (of weights towards zero), `hard_concrete` (learnt gates) or `random`,
    accumulated since the last round. `movement` and `hard_concrete` train once more, before the first projection."""
    rounds: int | None = Field(default=None, ge=1, le=MOST_ROUNDS)
    """Number of projections, each followed by retraining; by default 8, or 1 if the protocol projects once."""
    schedule: Literal["cubic", "linear"] = "cubic"
    """How the sparsity rises (or the radius falls) over the rounds."""
    survivors: Literal["keep", "clipped"] = "keep"
    """`keep`: surviving columns keep their weights; `clipped`: they take their values from the projection."""
    protocol: Literal["rounds", "double_descent", "rewind"] = "rounds"
    """`double_descent`: project once, mask, retrain; `rewind`: the same, from the weights in `rewind_to`."""
    rewind_to: str | None = None
    """Folder of the initial weights, for `rewind`."""
    retrain: Retrain
    """The training phase after each projection."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Options":
        goals = (self.column_sparsity, self.target, self.radius, self.radius_fraction)
        if sum(goal is not None for goal in goals) != 1:
            raise ValueError("give one of 'column_sparsity', 'target', 'radius' and 'radius_fraction'")
        has_sparsity = self.column_sparsity is not None or self.target is not None
        if self.importance != "none" and (not has_sparsity or self.survivors == "clipped"):
            raise ValueError("'importance' rescales the columns; it needs 'column_sparsity' and survivors: keep")
        if self.target is not None and self.scope == "global":
            raise ValueError("a target decides the sparsity of each width; leave scope: global out")
        if self.protocol != "rounds" and self.rounds not in (None, 1):
            raise ValueError(f"protocol {self.protocol!r} projects once; leave 'rounds' out")
        if self.criterion.OWN_ORDER:
            raise ValueError(
                f"importance {self.importance!r} has an order of its own, and no ball can choose in it; use stage prune"
            )
        if (self.protocol == "rewind") != (self.rewind_to is not None):
            raise ValueError("'rewind_to' and protocol: rewind go together")
        if (zeroed := discover(balls, Ball)[self.ball].ZEROES) != "columns":
            raise ValueError(
                f"ball {self.ball!r} zeroes {zeroed}, not columns: nothing could be removed; choose another"
            )
        return self

    @property
    def n_rounds(self) -> int:
        """Number of projections."""
        return self.rounds or (8 if self.protocol == "rounds" else 1)

    @property
    def criterion(self) -> Criterion:
        """The file that judges the units."""
        return discover(criteria, Criterion)[self.importance]

    def phases(self) -> Sequence[Retrain]:
        """Return the phase of each round, and the one before the first that a criterion may need."""
        return (self.retrain,) * (self.n_rounds + (self.criterion.READS == "training"))

    def aim(self) -> Target | None:
        """Return the target."""
        return self.target

    def folders(self) -> Sequence[Path]:
        """Give the folder of the initial weights."""
        return () if self.rewind_to is None else (Path(self.rewind_to),)

    def progress(self, round_: int) -> float:
        """Share of the way to the target after a round, 1 after the last."""
        share = (round_ + 1) / self.n_rounds
        return share if self.schedule == "linear" else 1 - (1 - share) ** 3


def run(model: Model, options: Options, context: Context) -> Model:
    """Zero whole columns while short retraining phases maintain the accuracy.

    The share of zero columns rises round by round. The projection chooses which columns die; the survivors keep
    their weights unless `survivors` is `clipped`, and a dead unit is held at zero so that `shrink` can remove it.
    """
    chosen = select_usual(model.widths(), options.widths)
    _require_room(chosen, options.min_units)
    if options.target is not None:
        sparsities = _sparsities(model, chosen, options, options.target, context)
        options = options.model_copy(update={"column_sparsity": sparsities, "target": None})
    contests = list(_contests(model, chosen, options))
    scores = context.journal.state  # saved with each round
    scores |= options.criterion.start(chosen, context.seed)

    def goal(round_: int) -> float:
        return _goal(chosen, options) * options.progress(round_)

    for round_ in context.rounds(model, options.n_rounds):
        if round_ == 0 or options.criterion.READS == "forward":  # otherwise retraining collected them
            collecting.before_(model, chosen, options.criterion, scores, context.trainer, options.retrain, goal(round_))
        for contest in contests:
            _project_(model, contest, options, scores, options.progress(round_))
        if options.rewind_to is not None:
            _rewind_(model, chosen, options.rewind_to)
        scores |= options.criterion.start(chosen, context.seed)
        next_goal = goal(round_ + 1) if round_ + 1 < options.n_rounds else None
        loss = collecting.fit_(model, chosen, options.criterion, scores, context.trainer, options.retrain, next_goal)
        dead = sum(int(surgery.dead_units(model.net, width).sum()) for width in chosen)
        units = sum(width.size for width in chosen)
        lr = options.retrain.lr  # logged because it may be lowered after a divergence
        score = context.trainer.evaluate(model)
        context.journal.log(round=round_, dead_units=dead, units=units, lr=lr, loss=loss, **score)
    return model


def _goal(chosen: Sequence[Width], options: Options) -> float:
    """Share of all units that are zero after the last round."""
    n_dead = sum((contests.sparsity_of(width, options.column_sparsity) or 0.0) * width.size for width in chosen)
    return n_dead / sum(width.size for width in chosen)


def _require_room(chosen: Sequence[Width], floor: float) -> None:
    """Refuse a minimum that no width has, as nothing could be zeroed; a small width beside larger ones stays whole."""
    largest = max((width.size for width in chosen), default=0)
    if floor > largest:
        raise ValueError(f"min_units: {floor} is more than any width has, the largest has {largest}; lower it")


def _sparsities(
    model: Model, chosen: Sequence[Width], options: Options, target: Target, context: Context
) -> dict[str, float]:
    """Choose the sparsity of each width for a target."""
    norms = {width.name: surgery.columns(model.net, width, options.side).norm(dim=0) for width in chosen}
    floors = {width.name: _floor(width, options) for width in chosen}
    units = units_for(model, chosen, damages.of_scores(chosen, norms, floors), target, context)
    return {width.name: 1 - units[width.name] / width.size for width in chosen}


def _contests(model: Model, chosen: Sequence[Width], options: Options) -> Iterator[Contest]:
    """Group the widths whose units compete, with the fraction of units to zero."""
    groups: dict[tuple[object, float | None], list[Width]] = {}
    for width in chosen:
        sparsity = contests.sparsity_of(width, options.column_sparsity)
        groups.setdefault((width.kind if options.scope == "global" else width.name, sparsity), []).append(width)
    for (_, sparsity), widths in groups.items():
        n_units = sum(width.size for width in widths)
        if sparsity is not None and round(sparsity * n_units) >= n_units and options.min_units:
            raise NumericsError(
                f"{widths[0].name}: column_sparsity {sparsity} leaves none of its {n_units} units; "
                "lower it, or set min_units: 0 and allow_empty: true in shrink"
            )
        norm = discover(balls, Ball)[options.ball].norm(contests.columns(model.net, widths, options.side))
        yield Contest(tuple(widths), sparsity, float(norm))


def _project_(model: Model, contest: Contest, options: Options, scores: Mapping[str, Tensor], progress: float) -> None:
    """Project the columns of a contest; zero the units whose column vanished."""
    matrix = contests.columns(model.net, contest.widths, options.side)
    scaled = _scaled(model, matrix, contest, options, scores)
    ball = discover(balls, Ball)[options.ball]

    def radius(aside: Tensor) -> float | Tensor:
        return _radius(ball, scaled, aside, contest, options, progress)

    live, projected = contests.survivors(scaled, ball, radius, list(_floors(contest, options)))
    offset = 0
    for width in contest.widths:
        part = slice(offset, offset := offset + width.size)
        if options.survivors == "clipped":
            n_rows = len(surgery.columns(model.net, width, options.side))
            surgery.write_columns_(model.net, width, projected[:n_rows, part], options.side)
        surgery.zero_units_(model.net, width, ~live[part], options.side)


def _scaled(model: Model, matrix: Tensor, contest: Contest, options: Options, scores: Mapping[str, Tensor]) -> Tensor:
    """Scale the columns by importance, so that important units survive."""
    criterion = options.criterion
    if criterion.READS != "weights" and not criteria.is_collected(scores, contest.widths):
        return matrix
    weights = torch.cat([criterion.scores(scores, model.net, width) for width in contest.widths])
    weights = (weights / weights.mean()).to(matrix)
    if criterion.TIMES_WEIGHTS:
        return matrix * weights
    norms = discover(balls, Ball)[options.ball].norm(matrix.T.unsqueeze(-1))  # of each column separately
    return matrix * (weights / norms).masked_fill(norms == 0, 0.0)


def _floors(contest: Contest, options: Options) -> Iterator[tuple[slice, int]]:
    """Yield the columns of each width of a contest, and the minimum number of live ones."""
    offset = 0
    for width in contest.widths:
        yield slice(offset, offset := offset + width.size), _floor(width, options)


def _floor(width: Width, options: Options) -> int:
    """Minimum number of live units of a width."""
    floor = options.min_units
    return min(width.size, floor) if isinstance(floor, int) else round(floor * width.size)


def _radius(
    ball: Ball, matrix: Tensor, aside: Tensor, contest: Contest, options: Options, progress: float
) -> float | Tensor:
    """Radius of this round: the one that zeroes the scheduled share of all units, or the scheduled radius itself."""
    if contest.sparsity is not None:
        n_dead = round(contest.sparsity * progress * len(aside))
        n_contested = int((~aside).sum())
        return balls.radius_for(ball, matrix[:, ~aside], min(1.0, n_dead / n_contested))
    final = options.radius if options.radius is not None else (options.radius_fraction or 0.0) * contest.norm
    return contest.norm - (contest.norm - final) * progress if final < contest.norm else final


def _rewind_(model: Model, chosen: Sequence[Width], folder: str) -> None:
    """Restore the initial weights, and zero the dead units again."""
    dead = {width.name: surgery.dead_units(model.net, width) for width in chosen}
    try:
        model.net.load_state_dict(open_model(Path(folder), model.task).net.state_dict())
    except RuntimeError as error:
        raise InputError(f"rewind_to: {folder!r} does not match this network; give its initial weights") from error
    for width in chosen:
        surgery.zero_units_(model.net, width, dead[width.name])
