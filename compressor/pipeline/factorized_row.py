"""One row of a comparison: the network with its layers factorized by one method, judged, exported and timed."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from compressor import surgery
from compressor.bench.result import FORMAT, Entry, Kind, PlanDocument, PlannedVariant, Precision
from compressor.bench.shape import Shape
from compressor.data.batches import some_batches
from compressor.factorizations import Metric, Rank
from compressor.graphs import content
from compressor.measure import launch
from compressor.model import Model, OnnxGraph, outputs_of
from compressor.nn import Factorized
from compressor.numerics.metric import PLAIN
from compressor.options import Calibration
from compressor.pipeline.record import bench_settings, file_record, record_of, variant
from compressor.pipeline.start import Start
from compressor.report import speed
from compressor.report.comparison import DENSE, Row, RowSpeed, name
from compressor.rundir import FileRecord, StepRecord
from compressor.stages import export, quantize
from compressor.surgery import factorizing
from compressor.surgery.factorizing import Candidate
from compressor.surgery.moments import Moments
from compressor.surgery.output_errors import comparing
from compressor.training import norms
from compressor.training.context import Context
from compressor.training.trainer import BATCH_SIZE

BYTES = 4  # of a number in fp32
Chosen = list[tuple[Candidate, Rank]]


@dataclass(frozen=True)
class File:
    """An exported network, with what is known of it before it is timed."""

    graph: OnnxGraph
    record: StepRecord
    """Of the network."""
    facts: FileRecord
    accuracy_held_out: float

    def planned(self, title: str) -> PlannedVariant:
        """Make the entry of the bench's plan."""
        kind: Kind = "original" if title.startswith(DENSE) else "result"
        planned = variant(str(self.graph.path), kind, self.graph.precision, self.record, self.facts)
        return {**planned, "name": title}


@dataclass(frozen=True)
class Rows:
    """Makes the rows; what they share is computed once."""

    start: Start
    """With a network whose layers are dense."""
    layers: Sequence[Candidate]
    """The chosen layers, with their default methods."""
    norm: norms.Norm
    n_calibration: int
    seconds: float
    """Time to measure a pair of files at one shape."""
    folder: Path
    """For the exported files, which are not kept."""

    @property
    def model(self) -> Model:
        """The dense network."""
        return self.start.model

    @property
    def n_held_out(self) -> int:
        """Number of rows on which output errors are measured."""
        return min(self.n_calibration, len(self.start.data.held_out))

    def dense(self) -> list[Row]:
        """Make the rows of the network as it is, in fp32 and in int8."""
        context = self._context(DENSE)
        graph = quantize.run(self._dense.graph, quantize.Options(stage="quantize"), context)
        file = self._judged(graph, self._dense.record, context)
        n_bytes = sum(layer["size_bytes"] for layer in content.describe(graph.path)["layers"])
        both = self._timed({name(DENSE, "fp32", None): self._dense, name(DENSE, "int8", None): file})
        n_params = surgery.n_params(self.model.net)
        sizes: list[tuple[Precision, File, int]] = [("fp32", self._dense, BYTES * n_params), ("int8", file, n_bytes)]
        return [
            {
                **_with_file(_row(DENSE, None, precision, {}), own),
                "n_params": n_params,
                "size_bytes": size,
                "speeds": speeds,
            }
            for (precision, own, size), speeds in zip(sizes, both, strict=True)
        ]

    def factorized(self, method: str, budget: float) -> Row:
        """Make the row of a method at a budget; layers that it cannot factorize stay dense."""
        chosen, left = self._fitting(method, budget)
        row = _row(method, budget, "fp32", left)
        if not chosen:
            return row
        model, made = self.model.copy(), self._made(chosen)
        for path, layer in made.items():
            surgery.replace_(model.net, path, layer)
        n_saved = sum(each.n_weights - each.n_params(rank) for each, rank in chosen)
        n_params = surgery.n_params(self.model.net) - n_saved
        file = self._exported(model, method)
        speeds = self._timed({name(DENSE, "fp32", None): self._dense, name(method, "fp32", budget): file})
        shutil.rmtree(file.graph.path.parent)
        return {
            **_with_file(row, file),
            "n_layers": len(chosen),
            "weight_error": fmean(self._weight_error(*each) for each in made.items()),
            "output_error": self._output_error(made),
            "n_params": n_params,
            "size_bytes": BYTES * n_params,
            "speeds": speeds[1],
        }

    def _fitting(self, method: str, budget: float) -> tuple[Chosen, dict[str, list[str]]]:
        """Choose the rank of each layer; give the layers without one by the reason."""
        chosen: Chosen = []
        left: dict[str, list[str]] = {}
        for each in self.layers:
            try:
                layer = self.model.net.get_submodule(each.name)
                candidate = factorizing.candidate(each.name, layer, method)
                chosen.append((candidate, candidate.rank_for(budget, layer)))
            except ValueError as error:
                left.setdefault(str(error).removeprefix(f"{each.name}: "), []).append(each.name)
        return chosen, left

    def _made(self, chosen: Chosen) -> dict[str, Factorized]:
        """Factorize layers of the dense network."""
        made = {}
        for each, rank in chosen:
            layer = self.model.net.get_submodule(each.name)
            mean = self._means.get(each.name) if each.kind == "linear" else None
            made[each.name] = each.factorized(layer, rank, self._metrics.get(each.name), mean)
        return made

    @cached_property
    def _seen(self) -> Mapping[str, Moments]:
        trainer = self._context(DENSE).trainer
        return norms.look(self.model, self.layers, Calibration(examples=self.n_calibration), trainer)

    @cached_property
    def _means(self) -> Mapping[str, Tensor]:
        """Means of what layers read, for their biases, in the one norm that is of outputs."""
        return {path: seen.mean for path, seen in self._seen.items()} if self.norm == "activation" else {}

    @cached_property
    def _metrics(self) -> Mapping[str, Metric]:
        if self.norm == "fisher":
            rows = Calibration(examples=self.n_calibration)
            return norms.fisher_of(self.model, self.layers, rows, self._context(DENSE).trainer)
        return norms.metrics_of(self.layers, self.norm, self._seen)

    def _weight_error(self, path: str, layer: Factorized) -> float:
        weights = (factorizing.weight_of(one) for one in (self.model.net.get_submodule(path), layer.fold()))
        return PLAIN.error(*(weight.flatten(1) for weight in weights))

    def _output_error(self, made: Mapping[str, Factorized]) -> float | None:
        """Mean over the layers that are called."""
        outputs, held_out = outputs_of(self.model), self.start.data.held_out
        with comparing(self.model.net, made) as found:
            for batch in some_batches(held_out, torch.arange(self.n_held_out), BATCH_SIZE):
                outputs(batch)
        return fmean(gap.error for gap in found.values()) if found else None

    @cached_property
    def _dense(self) -> File:
        return self._exported(self.model, DENSE)

    def _context(self, label: str) -> Context:
        start = self.start
        return Context(self.folder / label, start.key, start.recipe.seed, start.data, originals=None, label=label)

    def _exported(self, model: Model, label: str) -> File:
        context = self._context(label)
        context.folder.mkdir()
        graph = export.run(model, export.Options(stage="export"), context)
        return self._judged(graph, record_of(model, self.start.recipe.bench), context)

    def _judged(self, graph: OnnxGraph, record: StepRecord, context: Context) -> File:
        held_out = context.trainer.evaluate(graph)["accuracy_held_out"]
        return File(graph, record, file_record(graph, context), held_out)

    def _timed(self, files: Mapping[str, File]) -> list[list[RowSpeed]]:
        """Measure two files in turns, and compare each with the first."""
        planned = [file.planned(title) for title, file in files.items()]
        plan: PlanDocument = {"format": FORMAT, "variants": planned, **bench_settings(self.start.recipe.bench)}
        measured = launch.measure({**plan, "meter": "none", "seconds": self.seconds})["variants"]
        clock, dense = speed.clock(measured), measured[0]["bench"]
        return [[_speed(*pair, clock) for pair in zip(dense, each["bench"], strict=True)] for each in measured]


def _row(method: str, budget: float | None, precision: Precision, left: dict[str, list[str]]) -> Row:
    """Begin a row, without numbers."""
    return {
        "method": method,
        "precision": precision,
        "budget": budget,
        "n_layers": 0,
        "left_dense": left,
        "weight_error": None,
        "output_error": None,
        "n_params": None,
        "size_bytes": None,
        "file_bytes": None,
        "n_flops": {},
        "accuracy": None,
        "accuracy_held_out": None,
        "speeds": [],
    }


def _with_file(row: Row, file: File) -> Row:
    """Fill in what is known of a file without timing it."""
    return {
        **row,
        "file_bytes": file.facts["size_bytes"],
        "n_flops": file.record["n_flops"],
        "accuracy": file.facts["accuracy"],
        "accuracy_held_out": file.accuracy_held_out,
    }


def _speed(before: Entry, after: Entry, clock: speed.Clock) -> RowSpeed:
    dense_ms, own_ms = (clock.ms(entry) or entry["p50_ms"] for entry in (before, after))
    return {
        "shape": Shape.of(after).name,
        "p50_ms": after["p50_ms"],
        "cpu_ms": after["cpu_ms"],
        "dense_p50_ms": before["p50_ms"],
        "dense_cpu_ms": before["cpu_ms"],
        "ratio": own_ms / dense_ms,
        "clock": "p50" if clock.is_wall else "processor time",
    }
