"""Options of a training phase, which every stage that trains takes as `retrain`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from compressor.options import Base, Share, Target

MOST_STEPS = 100_000_000  # a year at three steps a second
MOST_EPOCHS = 100_000
MOST_BATCH = 65_536


class Distill(Base):
    """Weights of the distillation losses; the teacher is the original model."""

    logits: float = Field(default=0.7, ge=0)
    """Weight of the KL divergence between softened logits."""
    temperature: float = Field(default=2.0, gt=0)
    """Temperature that softens both logits."""
    hidden_states: float = Field(default=0.0, ge=0)
    """Weight of the mean squared error of each kept layer against its own teacher layer."""
    attention_relations: float = Field(default=0.0, ge=0)
    """Weight of the KL divergence between query, key and value relations of the last layer."""

    @property
    def has_weight(self) -> bool:
        """Whether any of the losses has a weight above zero."""
        return any((self.logits, self.hidden_states, self.attention_relations))


class Retrain(Base):
    """One training phase: how long, how fast, and against which losses."""

    steps: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    """Number of optimizer updates; or give `epochs`."""
    epochs: float | None = Field(default=None, gt=0, le=MOST_EPOCHS)
    """Passes over the training split, instead of `steps`."""
    batch_size: int = Field(default=32, ge=1, le=MOST_BATCH)
    """Examples per step, over all processes."""
    lr: float = Field(default=5e-5, gt=0)
    """Peak learning rate of AdamW."""
    warmup: Share = Field(default=0.05, ge=0, le=1)
    """Fraction of the steps that warm up; the rest decays linearly to zero."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay; biases and normalisation weights have none."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this global norm."""
    freeze: tuple[str, ...] = ()
    """Name patterns of parameters that are not trained, such as `*word_embeddings*`."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` uses bf16 autocast if the device supports it."""
    labels: float = Field(default=1.0, ge=0)
    """Weight of the task's own loss."""
    distill: Distill | None = None
    """Losses against the original model; none by default."""

    @model_validator(mode="after")
    def _one_length(self) -> "Retrain":
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either 'steps' or 'epochs'")
        if self.labels == 0 and (self.distill is None or not self.distill.has_weight):
            raise ValueError("every loss has weight zero; raise 'labels' or 'distill'")
        return self

    def n_steps(self, n_examples: int) -> int:
        """Count the optimizer updates on a split of this size."""
        if self.steps is not None:
            return self.steps
        return max(1, round((self.epochs or 0) * n_examples / self.batch_size))


class StageOptions(Base):
    """Options that all stages have in common."""

    stage: str

    def phases(self) -> Sequence[Retrain]:
        """Return the training phases of the stage, in order."""
        return ()

    def distilled(self) -> Sequence[Retrain]:
        """Return the training phases that have a teacher."""
        return [phase for phase in self.phases() if phase.distill is not None]

    def aim(self) -> Target | None:
        """Return the target of the stage, if it takes one and has it in place of a sparsity."""
        return None

    def folders(self) -> Sequence[Path]:
        """Give the checkpoints that the stage reads beside what it is given; their content belongs to its key."""
        return ()
