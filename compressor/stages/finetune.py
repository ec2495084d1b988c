"""Train all weights for one long phase."""

from typing import Literal

from compressor.model import Model
from compressor.options import Base
from compressor.training.context import Context
from compressor.training.options import Retrain


class Options(Base):
    """Recipe keys of the `finetune` stage."""

    stage: Literal["finetune"]
    retrain: Retrain
    """The training phase."""


def run(model: Model, options: Options, context: Context) -> Model:
    """Train the network, from wherever it stands; units that are dead stay dead."""
    loss = context.fit(model, options.retrain)
    context.log(loss=loss)
    return model
