"""The base of everything that a recipe can say."""

from pydantic import BaseModel, ConfigDict


class Base(BaseModel):
    """Frozen settings: unknown keys are refused, and the text under a field is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
