"""The fastest of the files that can be made of a graph, within a limit on the loss of accuracy."""

import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from compressor.bench.result import FORMAT, PlannedVariant, PlanSettings, Precision, Result
from compressor.bench.shape import Shape
from compressor.errors import CompressorError, GateMissed, first_line
from compressor.measure import launch
from compressor.progress import said_before, say
from compressor.quantizing.work import Score, Work
from compressor.report import speed
from compressor.temporary import temporary_folder

FILE = "choice.json"
FLOAT = "float"
SECONDS = 40.0  # of measuring, over all files and points together


class Candidate(TypedDict):
    """A mode, and what became of it."""

    precision: Precision
    accuracy: NotRequired[float]
    size_bytes: NotRequired[int]
    float_layers: NotRequired[list[str]]
    """Layers that stay in float for the limit."""
    ratios: NotRequired[dict[str, float]]
    """Time at each point over that of the float file."""
    reason: NotRequired[str]
    """Why there is no such file, or why it is not allowed."""


class Choice(TypedDict):
    """What `choice.json` holds."""

    chosen: str
    precision: Precision
    candidates: dict[str, Candidate]


@dataclass(frozen=True)
class Judge:
    """What files are judged by."""

    file: Path
    """The float file."""
    score: Score
    max_accuracy_drop: float | None
    points: PlanSettings
    with_float: bool
    """Whether the float file is a candidate too."""

    def choose(self, works: Iterable[tuple[str, Work]], file: Path) -> Choice:
        """Make the file of each mode, measure all in turns, and write the fastest.

        Raises
        ------
        GateMissed
            If none is within the limit, and the float file is no candidate.
        """
        with temporary_folder() as home:
            found: dict[str, Candidate] = {FLOAT: self._judged(self.file, "fp32")}
            files = {FLOAT: self.file}
            for mode, work in works:
                say(f"{'quantize':<24} {mode}")
                path = home.path / f"{mode}.onnx"
                found[mode] = self._made(work, path, found[FLOAT]["accuracy"])
                if "reason" not in found[mode]:
                    files[mode] = path
            for mode, ratios in self._measured(files, found).items():
                found[mode]["ratios"] = ratios
            allowed = {mode: path for mode, path in files.items() if self.with_float or mode != FLOAT}
            if not allowed:
                raise GateMissed("quantize: no mode makes a file within max_accuracy_drop; raise it", found)
            chosen = min(allowed, key=lambda mode: _mean(found[mode]["ratios"]))
            shutil.copy(allowed[chosen], file)
        return {"chosen": chosen, "precision": found[chosen]["precision"], "candidates": found}

    def _made(self, work: Work, path: Path, before: float) -> Candidate:
        candidate: Candidate = {"precision": work.precision}
        try:
            if self.max_accuracy_drop is not None:
                limited = work.within_limit_(path, self.score, self.max_accuracy_drop)
                candidate["float_layers"] = (limited and limited["float_layers"]) or []
            work.save(path)
            return {**candidate, **self._judged(path, work.precision)}
        except CompressorError as error:
            return {**candidate, "reason": first_line(error)}

    def _judged(self, path: Path, precision: Precision) -> Candidate:
        return {"precision": precision, "accuracy": self.score(path), "size_bytes": path.stat().st_size}

    def _measured(self, files: dict[str, Path], found: dict[str, Candidate]) -> dict[str, dict[str, float]]:
        """Measure files in turns, and give the time of each at each point over that of the float file."""
        variants: list[PlannedVariant] = [
            {"name": mode, "file": str(path.absolute()), "precision": found[mode]["precision"]}
            for mode, path in files.items()
        ]
        n_points = len(self.points["batch_sizes"]) * len(self.points["lengths"]) * len(self.points["threads"])
        seconds = SECONDS / n_points
        with said_before():
            result = launch.measure(
                {"format": FORMAT, "variants": variants, **self.points, "meter": "none", "seconds": seconds}
            )
        return dict(_ratios(result))


def _ratios(result: Result) -> Iterable[tuple[str, dict[str, float]]]:
    clock = speed.clock(result["variants"])
    first = [clock.ms(entry) or entry["p50_ms"] for entry in result["variants"][0]["bench"]]
    for variant in result["variants"]:
        times = [clock.ms(entry) or entry["p50_ms"] for entry in variant["bench"]]
        shapes = [Shape.of(entry).name for entry in variant["bench"]]
        yield variant["name"], {shape: new / old for shape, old, new in zip(shapes, first, times, strict=True)}


def _mean(ratios: dict[str, float]) -> float:
    """Geometric mean."""
    return math.exp(sum(map(math.log, ratios.values())) / len(ratios))
