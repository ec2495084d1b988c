"""Let a criterion collect what it needs, from calibration rows or from training."""

from collections.abc import Sequence

from compressor.criteria import Criterion, State
from compressor.model import Model
from compressor.surgery import Width
from compressor.training.options import Retrain
from compressor.training.trainer import Trainer


def before_(
    model: Model,
    widths: Sequence[Width],
    criterion: Criterion,
    state: State,
    trainer: Trainer,
    retrain: Retrain,
    goal: float,
) -> None:
    """Collect before the first choice: by looking, by gradients of the loss of training, or by training itself."""
    if criterion.READS == "training":
        fit_(model, widths, criterion, state, trainer, retrain, goal)
        return
    with criterion.watching(state, model.net, widths, goal=goal) as after_backward:
        if criterion.READS == "forward":
            trainer.look(model, retrain.batch_size)
        elif criterion.READS == "backward":
            trainer.observe(model, retrain, after_backward)


def fit_(
    model: Model,
    widths: Sequence[Width],
    criterion: Criterion,
    state: State,
    trainer: Trainer,
    retrain: Retrain,
    goal: float | None,
) -> float:
    """Train, and collect for the next choice, if ``goal`` says that there is one; return the final loss."""
    if goal is None or criterion.READS not in ("backward", "training"):
        return trainer.fit(model, retrain)
    with criterion.watching(state, model.net, widths, goal=goal) as after_backward:
        return trainer.fit(model, retrain, after_backward=after_backward)
