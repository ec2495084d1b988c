"""Compare factorizations of a network: each method at each budget, without training, beside the dense network."""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor import factorizations, rundir, surgery
from compressor.bench import host
from compressor.errors import RecipeError, RunDirError, listed
from compressor.files import read_sealed, write_sealed
from compressor.model.checkpoint import task_of
from compressor.pipeline import provenance
from compressor.pipeline.factorized_row import Rows
from compressor.pipeline.record import bench_settings
from compressor.pipeline.start import Start, begin
from compressor.plugins import names
from compressor.progress import say
from compressor.recipe import Recipe, parse
from compressor.report import comparison_page, words
from compressor.report.comparison import DENSE, FORMAT, Comparison, Row, name
from compressor.surgery import factorizing
from compressor.surgery.factorizing import Candidate
from compressor.training.norms import Norm

KEPT = "rows.json"  # the rows that are done, from which the same command goes on
SETTINGS = ("data.", "model.", "bench.", "seed=")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is compared, and on what.

    Raises
    ------
    RecipeError
        If a method is unknown, a budget is not between 0 and 1, or an override is of another key.
    """

    checkpoint: str
    """Local folder or hub id."""
    dataset: str
    methods: tuple[str, ...]
    """Files in `compressor.factorizations`."""
    budgets: tuple[float, ...]
    """Shares of the parameters of the chosen layers that are left."""
    task: str | None = None
    """By default that of the checkpoint's head."""
    layers: tuple[str, ...] | None = None
    """Patterns of paths; by default the linear layers and convolutions of the blocks."""
    norm: Norm = "activation"
    n_calibration: int = 512
    seconds: float = 10.0
    """Time to measure a pair of files at one shape."""
    settings: tuple[str, ...] = ()
    """Overrides of a recipe's keys ``data``, ``model``, ``bench`` and ``seed``."""

    def __post_init__(self) -> None:
        known = names(factorizations)
        problems = [
            f"--methods: no such method, got {method!r}; choose from {', '.join(known)}"
            for method in self.methods
            if method not in known
        ]
        problems += [f"--budgets: must be > 0 and < 1, got {each:g}" for each in self.budgets if not 0 < each < 1]
        problems += [
            f"--set {setting}: not a key that can be set here; it should start with one of {listed(SETTINGS)}"
            for setting in self.settings
            if not setting.startswith(SETTINGS)
        ]
        if problems:
            raise RecipeError("\n".join(problems))

    def recipe(self) -> Recipe:
        """Make the recipe that loads the network and the data."""
        task = self.task or task_of(self.checkpoint)
        content: dict[str, Any] = {
            "model": {"checkpoint": self.checkpoint, "task": task},
            "data": {"dataset": self.dataset},
            "stages": [{"stage": "export"}],
        }
        return parse(content, self.settings)


def compare(request: Request, out: Path) -> Comparison:
    """Make all rows that are not done yet, and write ``comparison.json`` and ``index.html`` into a folder.

    Each row is kept as soon as it is done; a row that was made with the same settings is not made again.

    Raises
    ------
    RecipeError
        If a pattern matches no layer that can be factorized.
    InputError
        If the checkpoint or the dataset cannot be read.
    RunDirError
        If the folder cannot be written, or holds files of the same names that no comparison wrote.
    """
    _open(out)
    start = begin(request.recipe())
    for path, layer in surgery.factorized(start.model.net).items():
        surgery.replace_(start.model.net, path, layer.fold())
    layers = _layers(start, request.layers)
    key = _key(request, start, layers)
    kept = read_sealed(out / KEPT) or {}
    done: dict[str, Row] = kept["rows"] if kept.get("key") == key else {}
    with tempfile.TemporaryDirectory(prefix="compress-") as folder:
        rows = Rows(start, layers, request.norm, request.n_calibration, request.seconds, Path(folder))
        _complete_(done, rows, request, lambda: write_sealed(out / KEPT, {"key": key, "rows": done}))
        made = _document(request, start, rows, done)
    comparison_page.write(made, out)
    return made


def _open(out: Path) -> None:
    """Make the folder, or refuse one in which a file of ours would replace somebody's own."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirError(f"{out}: cannot be written: {error.strerror}; choose another --out") from error
    if not os.access(out, os.W_OK):
        raise RunDirError(f"{out}: cannot be written: it is read-only; choose another --out")
    foreign = [file for file in comparison_page.FILES if (out / file).exists()]
    if foreign and not (out / KEPT).exists():
        raise RunDirError(f"{out}: holds {listed(foreign)}, which no comparison wrote; choose another --out")


def _layers(start: Start, patterns: Sequence[str] | None) -> list[Candidate]:
    try:
        chosen = factorizing.candidates(start.model.net, start.model.hidden, patterns, None)
        factorizing.check_tables(start.model.net, chosen)
    except ValueError as error:
        raise RecipeError(f"--{error}") from error
    return chosen


def _key(request: Request, start: Start, layers: Sequence[Candidate]) -> str:
    """Hash what every row depends on besides its method and budget."""
    settings = [request.norm, request.n_calibration, request.seconds, bench_settings(start.recipe.bench)]
    return rundir.chain("compare", start.key, FORMAT, settings, [each.name for each in layers], host.cpu()["model"])


def _wanted(request: Request) -> list[tuple[str, float]]:
    return [(method, budget) for method in request.methods for budget in request.budgets]


def _complete_(done: dict[str, Row], rows: Rows, request: Request, keep: Callable[[], None]) -> None:
    """Make the rows that are missing, and keep them after each."""
    titles = [name(DENSE, "fp32", None)] + [name(method, "fp32", budget) for method, budget in _wanted(request)]
    missing = [title for title in titles if title not in done]
    if len(missing) < len(titles):
        say(f"{len(titles) - len(missing)} of {len(titles)} rows done before")
    began = time.monotonic()
    made = dict(zip(titles[1:], _wanted(request), strict=True))
    for index, title in enumerate(missing):
        new = [rows.factorized(*made[title])] if title in made else rows.dense()
        done |= {name(row["method"], row["precision"], row["budget"]): row for row in new}
        keep()
        n_left = len(missing) - index - 1
        left_s = (time.monotonic() - began) / (index + 1) * n_left
        say(f"[{index + 1}/{len(missing)}] {comparison_page.line(new[-1])}{_left(left_s)}")


def _left(seconds: float) -> str:
    return f"; about {words.seconds(seconds)} left" if seconds else ""


def _document(request: Request, start: Start, rows: Rows, done: dict[str, Row]) -> Comparison:
    recipe, data = start.recipe, start.data
    titles = [name(DENSE, "fp32", None), name(DENSE, "int8", None)]
    titles += [name(method, "fp32", budget) for method, budget in _wanted(request)]
    return {
        "format": FORMAT,
        "environment": provenance.run_record(recipe, "", start.source)["environment"],
        "source": start.source,
        "task": recipe.model.task,
        "dataset": Path(request.dataset).name if Path(request.dataset).exists() else request.dataset,
        "split": data.report_name,
        "n_examples": len(data.report),
        "n_held_out": rows.n_held_out,
        "n_calibration": min(request.n_calibration, len(data.train)),
        "norm": request.norm,
        "layers": [each.name for each in rows.layers],
        "n_weights": sum(each.n_weights for each in rows.layers),
        "seconds_per_shape": request.seconds,
        "rows": [done[title] for title in dict.fromkeys(titles)],
    }
