"""Train all weights for one long phase."""

from collections.abc import Sequence
from typing import Literal

from compressor.model import Model
from compressor.training.context import Context
from compressor.training.options import Retrain, StageOptions


class Options(StageOptions):
    """Recipe keys of the `finetune` stage."""

    stage: Literal["finetune"]
    retrain: Retrain
    """The training phase."""

    def phases(self) -> Sequence[Retrain]:
        """Return the one phase."""
        return (self.retrain,)


def run(model: Model, options: Options, context: Context) -> Model:
    """Train the network from its current weights; dead units stay dead."""
    loss = context.trainer.fit(model, options.retrain)
    context.journal.log(loss=loss)
    return model
