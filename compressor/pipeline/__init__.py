"""A run from end to end: recipe, original, stages, bench, report."""

from typing import TYPE_CHECKING

from compressor.plugins import lazily

if TYPE_CHECKING:
    from compressor.pipeline.engine import check, run

__all__ = ["check", "run"]
__getattr__ = lazily(__name__, engine="check run")
