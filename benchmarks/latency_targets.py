"""How close networks come to latency targets: predicted and measured, on SST-2's MiniLM.

Run: python benchmarks/latency_targets.py [--targets 0.65 0.5 0.4 0.25] [--points 1x32 1x128] [--precisions fp32 int8]

Every row is kept, so a script that is stopped goes on where it was: start it again. Units are judged by the norms of
their columns; which units go does not change the time. Each point is a target of its own; `1x32,1x128` asks for both.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from compressor import surgery
from compressor.bench import host
from compressor.bench.shape import Shape
from compressor.files import read_json, write_json
from compressor.options import Target
from compressor.pipeline.shipping import shipping_of
from compressor.pipeline.start import Start, begin
from compressor.recipe import Recipe, parse
from compressor.rundir import TARGET, RunDir
from compressor.targets import damages, reaching
from compressor.training.context import Context
from compressor.training.remembered import AnswerFiles
from compressor.training.teacher import Originals

PATTERNS = ("*.heads", "*.ffn")
HEAD = [
    "| file | points | wanted | predicted | measured, try by try | off | s | CPU s |",
    "|---|---|---|---|---|---|---|---|",
]


def recipe_of(given: argparse.Namespace, points: str, precision: str) -> Recipe:
    """Make the recipe whose export, quantization and bench the target is about."""
    shapes = [Shape.parse(name) for name in points.split(",")]
    stages: list[dict[str, Any]] = [{"stage": "shrink"}, {"stage": "export"}]
    return parse(
        {
            "model": {"checkpoint": given.checkpoint, "task": "text-classification"},
            "data": {"dataset": given.dataset},
            "stages": stages + ([{"stage": "quantize"}] if precision == "int8" else []),
            "bench": {"batch_sizes": [1], "lengths": [shape.length for shape in shapes]},
        }
    )


def reach(start: Start, recipe: Recipe, target: float, home: RunDir) -> dict[str, Any]:
    """Choose the units for a target; the table of costs is kept in the folder."""
    began, busy = time.monotonic(), cpu_s()
    with tempfile.TemporaryDirectory() as folder:
        originals = Originals(start.model, start.model.copy, start.data, AnswerFiles(Path(folder), start.key))
        shipping = shipping_of(recipe, start.data, start.key, home)
        context = Context(Path(folder), "", 0, start.data, originals, label="target", shipping=shipping)
        chosen = surgery.select(start.model.widths(), PATTERNS)
        scores = {width.name: surgery.columns(start.model.net, width).norm(dim=0) for width in chosen}
        table = damages.of_scores(chosen, scores, {width.name: 1 for width in chosen})
        reaching.units_for(start.model, chosen, table, Target(p50_ratio=target), context)
        record: dict[str, Any] = json.loads((Path(folder) / TARGET).read_text())
    return {**record, "seconds": time.monotonic() - began, "cpu_s": cpu_s() - busy}


def cpu_s() -> float:
    """Processor time of this process and of those that it started."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def line(name: str, target: float, row: dict[str, Any]) -> str:
    """Write a row: the worst point counts."""
    precision, points = name.split(" ")[:2]
    tries = [max(each["measured"].values()) for each in row["tries"]]
    measured = max(row["measured"].values())
    measured_by_try = ", ".join(f"{each:.3f}" for each in tries)
    predicted = max(row["tries"][0]["predicted"].values())
    off = f"{measured / target - 1:+.1%}"
    taken = f"{row['seconds']:.0f} | {row['cpu_s']:.0f}"
    return f"| {precision} | {points} | {target:g} | {predicted:.3f} | {measured_by_try} | {off} | {taken} |"


def main() -> None:
    """Measure what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="*", type=float, default=[0.65, 0.5, 0.4, 0.25])
    parser.add_argument("--points", nargs="*", default=["1x32", "1x128"])
    parser.add_argument("--precisions", nargs="*", default=["fp32", "int8"])
    parser.add_argument("--checkpoint", default="../shared/models/minilm-sst2")
    parser.add_argument("--dataset", default="../shared/data/sst2")
    parser.add_argument("--out", type=Path, default=Path("runs/latency_targets"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    done: dict[str, Any] = read_json(given.out / "rows.json") or {}
    start = begin(recipe_of(given, "1x32", "fp32"))
    print(f"CPU: {host.cpu()['model']}", *HEAD, sep="\n", flush=True)
    for precision in given.precisions:
        for points in given.points:
            for target in given.targets:
                name = f"{precision} {points} {target:g}"
                if name not in done:
                    recipe = recipe_of(given, points, precision)
                    done[name] = reach(start, recipe, target, RunDir(given.out))
                    write_json(given.out / "rows.json", done)
                print(line(name, target, done[name]), flush=True)


if __name__ == "__main__":
    main()
