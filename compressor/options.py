"""Base of everything a recipe can say, and the groups of options that stages share."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Base(BaseModel):
    """Frozen settings: unknown keys are refused, and the text under a field is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


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


class Augment(Base):
    """Synthetic sentences for distillation: the original labels them."""

    copies: int = Field(default=2, ge=1)
    """Synthetic examples for each real one."""
    replace: float = Field(default=0.2, ge=0, le=1)
    """Share of the words that are swapped for one with a like embedding."""
    join: float = Field(default=0.3, ge=0, le=1)
    """Share of the copies that go on with the text of another example; single texts only."""


class Retrain(Base):
    """One training phase: how long, how fast, and against which losses."""

    steps: int | None = Field(default=None, ge=1)
    """Number of optimizer updates; or say `epochs`."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the training split, in place of `steps`."""
    batch_size: int = Field(default=32, ge=1)
    """Examples per step, over all processes."""
    lr: float = Field(default=5e-5, gt=0)
    """Peak learning rate of AdamW."""
    warmup: float = Field(default=0.05, ge=0, le=1)
    """Fraction of the steps that warm up; the rest decays linearly to zero."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay; biases and normalisation weights have none."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this global norm."""
    freeze: tuple[str, ...] = ()
    """Patterns over parameter names that are not trained, such as `*word_embeddings*`."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` takes bf16 autocast where the device computes in it."""
    labels: float = Field(default=1.0, ge=0)
    """Weight of the task's own loss."""
    distill: Distill | None = None
    """Losses against the original model; none by default."""

    @model_validator(mode="after")
    def _one_length(self) -> "Retrain":
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either 'steps' or 'epochs'")
        if self.labels == 0 and (self.distill is None or not any((self.distill.logits, self.distill.hidden_states))):
            raise ValueError("every loss has weight zero; raise 'labels' or 'distill'")
        return self
