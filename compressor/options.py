"""The base of all recipe options, and the groups of options that several stages share."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _fraction(value: Any) -> Any:
    """Read `1%` as 0.01; whatever else there is, pydantic judges."""
    percent = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*%\s*", value) if isinstance(value, str) else None
    return value if percent is None else float(percent[1]) / 100


Share = Annotated[float, BeforeValidator(_fraction)]
"""A fraction, which a recipe may also write as a percentage."""
Ratio = Annotated[float, Field(gt=0, lt=1)]


class Base(BaseModel):
    """Frozen settings: unknown keys are refused, and the text under a field is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Calibration(Base):
    """Examples that a stage measures activations or gradients on, without training: a recipe's `calibration`."""

    examples: int = Field(default=512, ge=1)
    """Number of rows, drawn from the part of the training split that is not held out."""


class Target(Base):
    """The target of a stage, in place of a sparsity: a recipe's `target`, with exactly one of these keys."""

    p50_ratio: Ratio | None = None
    """Median latency over the original's, at every point of `bench`, in the precision of the last file."""
    p50_ms: float | None = Field(default=None, gt=0)
    """Median latency in milliseconds, at every point of `bench`, in the precision of the last file."""
    n_flops_ratio: Ratio | None = None
    """Floating-point operations of one inference over the original's, at every shape of `bench`."""
    n_params_ratio: Ratio | None = None
    """Number of parameters over the original's; parameters that layers share count once."""
    size_ratio: Ratio | None = None
    """Bytes of the last file over those of the original's file of the same precision."""

    @model_validator(mode="after")
    def _one(self) -> "Target":
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of {', '.join(type(self).model_fields)}, got {', '.join(given) or 'none'}"
            )
        return self
