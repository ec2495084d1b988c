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
    """The target of a stage, in place of a sparsity: a recipe's `target`, with exactly one ratio or time."""

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
    cost_table: str | None = None
    """For a latency: a file of what each level of each width takes, made on another machine by `compress bench`; by
    default it is measured on this machine. Nothing is corrected by measuring then."""
    machine: str | None = None
    """Part of the name of the processor that the table must be of, as `cost_table` says it; by default this one's."""

    @model_validator(mode="after")
    def _one(self) -> "Target":
        given = [name for name in GOALS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(GOALS)}, got {', '.join(given) or 'none'}")
        if self.cost_table is not None and not given[0].startswith("p50"):
            raise ValueError(f"'cost_table' is for a latency, and {given[0]} is counted; leave it out")
        if self.machine is not None and self.cost_table is None:
            raise ValueError("'machine' says where a 'cost_table' was measured; give both")
        return self

    @property
    def name(self) -> str:
        """The key that is given."""
        return next(name for name in GOALS if getattr(self, name) is not None)

    @property
    def value(self) -> float:
        """Its number."""
        number: float = getattr(self, self.name)
        return number


GOALS = ("p50_ratio", "p50_ms", "n_flops_ratio", "n_params_ratio", "size_ratio")
