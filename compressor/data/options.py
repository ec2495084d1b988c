"""Options of data augmentation."""

from pydantic import Field

from compressor.options import Base, Share


class Augment(Base):
    """Synthetic sentences for distillation, labelled by the original model."""

    copies: int = Field(default=2, ge=1, le=1000)
    """Synthetic examples for each real one."""
    replace: Share = Field(default=0.2, ge=0, le=1)
    """Share of the words that are replaced by a word with a similar embedding."""
    join: Share = Field(default=0.3, ge=0, le=1)
    """Share of the copies that are extended with the text of another example; single texts only."""
