"""Targets on the latency: files are measured beside the original, and predicted by a cost table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from compressor import surgery
from compressor.bench import host, sharing
from compressor.bench.result import FORMAT, Kind, PlanDocument, PlannedVariant, Result, entries
from compressor.bench.shape import Shape
from compressor.files import read_sealed, write_sealed
from compressor.measure import launch
from compressor.model import Model
from compressor.progress import said_before, say
from compressor.rundir import chain
from compressor.surgery import Width
from compressor.targets import attribution, table
from compressor.targets.costs import Comparison, Costs, Ratios
from compressor.targets.cutting import cut_copy, uniform
from compressor.temporary import temporary_folder
from compressor.training.shipping import Shipped, Shipping

TABLE_S, CHECK_S = 40.0, 16.0  # to measure the copies, and one file beside the original, over all points together
MOST_SLOWED = 5.0  # beyond, a machine is too busy to wait for
Floors = Mapping[str, int]


@dataclass(frozen=True)
class Timed:
    """Latency at each point of the bench over that of the original: p50, or processor time where cores are shared."""

    shapes: Sequence[Shape]
    p50_ratio: float | None
    p50_ms: float | None
    original: Model
    shipping: Shipping
    cost_table: Path | None
    """A table that was made elsewhere, in place of one that is measured here."""
    machine: str | None
    most_corrections: int = 2
    tolerance: float = 0.03
    """A correction is worth its half minute beyond this; the target is promised within 5 %."""

    def goals(self, points: Iterable[str], original_ms: Ratios) -> Ratios:
        """Give the largest ratio at each point."""
        if self.p50_ratio is not None:
            return dict.fromkeys(points, self.p50_ratio)
        return {point: (self.p50_ms or 0.0) / original_ms[point] for point in points}

    def compare(self, models: Sequence[Model]) -> Comparison | None:
        """Write the files of networks, and measure the last one of each beside the original, all in turns.

        None for a table of elsewhere, as that machine is not here.
        """
        if self.cost_table is not None:
            return None
        with temporary_folder() as home:
            files = [self._original(home.path)]
            for index, model in enumerate(models):
                path = self._written(model, home.path / f"compressed-{index}").last.path
                files.append(_planned("result", f"compressed {index}", path, model, self.shipping))
            result = self._measured(files, CHECK_S * len(models))
        return table.comparison(result, result["variants"][1:])

    def costs(self, model: Model, widths: Sequence[Width], floors: Floors) -> Costs:
        """Make the costs of a table that was made elsewhere, kept in the run directory, or is measured now."""
        with temporary_folder() as home:
            whole = self._written(model, home.path / "uncut")
            uncut = _planned("result", "uncut", whole.last.path, model, self.shipping)
            if self.cost_table is not None:
                result = table.read(self.cost_table, self.machine, uncut, self.shapes)
            else:
                result = self._kept(model, uncut, uniform(widths, floors), home.path)
            flops = {
                shape: attribution.per_unit(model, whole.exported, widths, shape.batch_size, shape.length)
                for shape in dict.fromkeys(shape.size for shape in self.shapes)
            }
        return table.costs(result, widths, flops, self.shapes)

    def plan(self, model: Model, widths: Sequence[Width], floors: Floors, folder: Path) -> PlanDocument:
        """Write the files of a table into a folder: the original, the network at hand, and its uniformly cut copies."""
        uncut = _planned("result", "uncut", self._written(model, folder / "uncut").last.path, model, self.shipping)
        return self._plan(self._files(model, uncut, uniform(widths, floors), folder), TABLE_S)

    def _kept(self, model: Model, uncut: PlannedVariant, copies: Sequence[Floors], folder: Path) -> Result:
        """Return the table in the run directory, or measure it and keep it there."""
        key = self._key(uncut, copies)
        kept = (read_sealed(self.shipping.table) if self.shipping.table else None) or {}
        if key not in kept:
            say(f"{'costs':<24} measuring {len(copies)} cut copies beside the original")
            kept[key] = self._measured(self._files(model, uncut, copies, folder), TABLE_S)
            if self.shipping.table:
                write_sealed(self.shipping.table, kept)
        result: Result = kept[key]
        return result

    def _key(self, uncut: PlannedVariant, copies: Sequence[Floors]) -> str:
        network = [uncut.get("n_params"), uncut.get("widths"), _planned_of(self.original)]
        machine = [host.cpu()["model"], onnxruntime.__version__]
        return chain("costs", network, machine, self.shipping.settings, self.shipping.points, copies)

    def _files(
        self, model: Model, uncut: PlannedVariant, copies: Sequence[Floors], folder: Path
    ) -> list[PlannedVariant]:
        """Write the copies and list all files; the network at hand only if it is not the original."""
        files = [self._original(folder)]
        if _planned_of(model) != _planned_of(self.original):
            files.append(uncut)
        for index, counts in enumerate(copies):
            smaller = cut_copy(model, counts)
            path = self._written(smaller, folder / f"copy-{index}").last.path
            files.append(_planned("result", f"copy {index}", path, smaller, self.shipping))
        return files

    def _original(self, folder: Path) -> PlannedVariant:
        """Find the original's file, or write it where the run has not."""
        path = self.shipping.original
        if path is None or not path.exists():
            path = self._written(self.original, folder / "original").last.path
        return _planned("original", "original", path, self.original, self.shipping)

    def _written(self, model: Model, folder: Path) -> Shipped:
        assert self.shipping.write is not None  # `ruler_of` refuses a recipe that exports nothing
        if not folder.exists():
            folder.mkdir()
        with said_before():
            return self.shipping.write(model, folder)

    def _plan(self, files: list[PlannedVariant], seconds: float) -> PlanDocument:
        each_s = seconds / len(self.shapes)
        return {"format": FORMAT, "variants": files, **self.shipping.points, "meter": "none", "seconds": each_s}

    def _measured(self, files: list[PlannedVariant], seconds: float) -> Result:
        """Measure files in turns; where other programs take the cores, again, for as much longer as they slow it down.

        The bench counts seconds by the clock, in which a busy machine gets few runs done.
        """
        with said_before():
            result = launch.measure(self._plan(files, seconds))
            slowed = max(sharing.wall_over_cpu(entry) or 1.0 for _, entry in entries(result["variants"]))
            if slowed > sharing.MOST:
                result = launch.measure(self._plan(files, seconds * min(slowed, MOST_SLOWED)))
        return result


def _planned(kind: Kind, name: str, path: Path, model: Model, shipping: Shipping) -> PlannedVariant:
    """Describe a file of a plan by what a table is recognised by."""
    n_params, widths = _planned_of(model)
    return {
        "name": name,
        "kind": kind,
        "file": str(path.absolute()),
        "precision": shipping.precision,
        "n_params": n_params,
        "widths": widths,
    }


def _planned_of(model: Model) -> tuple[int, dict[str, int]]:
    """Parameters and widths, which tell networks apart."""
    return surgery.n_params(model.net), {width.name: width.size for width in model.arch.widths(model.net)}
