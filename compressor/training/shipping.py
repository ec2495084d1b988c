"""How a run writes its last file, and where it measures it: what a stage with a target must know of the rest."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from compressor.bench.result import PlanSettings, Precision
from compressor.bench.shape import Shape
from compressor.model import Model, OnnxGraph


@dataclass(frozen=True)
class Shipped:
    """The files of one network."""

    exported: OnnxGraph
    last: OnnxGraph
    """The file that counts: the exported one, or the one quantized from it."""


@dataclass(frozen=True)
class Shipping:
    """The export and the quantization of a recipe, and the points of its bench."""

    points: PlanSettings
    """Batch sizes, lengths and threads."""
    write: Callable[[Model, Path], Shipped] | None
    """Writes the files of a network into a folder; None if the recipe exports nothing."""
    precision: Precision
    """Of the last file."""
    settings: object
    """Options of the export and of the quantization, for keys."""
    original: Path | None = None
    """The original's file of the same precision, which may not have been written yet."""
    table: Path | None = None
    """Where the costs that were measured are kept."""

    def shapes(self, has_length: bool) -> Iterator[Shape]:
        """Yield the points at which files are measured."""
        lengths = self.points["lengths"] if has_length else [None]
        yield from map(Shape._make, product(self.points["batch_sizes"], lengths, self.points["threads"]))
