"""Accuracy on SST-2 of pruning without training, for criteria, budgets, updates and calibration seeds.

Run: python benchmarks/one_shot.py [CRITERION/ALLOCATE ...] [--shares 0.5 0.4 0.3 0.2] [--seeds 0 1 2]
     [--updates least_squares none] [--checkpoint FOLDER --task TASK --dataset DATASET]

Every result is a line of a file, and tables of damages are kept too, so a script that is stopped goes on where it was:
start it again. The seconds are of the processor, for one level alone: collecting, the table and the update.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from compressor import criteria
from compressor.bench.host import cpu
from compressor.criteria import Criterion
from compressor.data.batches import metrics
from compressor.model import logits_of
from compressor.options import Calibration
from compressor.pipeline.start import Start, begin
from compressor.plugins import discover
from compressor.pruning import choice
from compressor.pruning.choice import Judgement
from compressor.pruning.denormals import flushing_denormals
from compressor.recipe import parse
from compressor.surgery.widths import select_usual
from compressor.training.journal import DryJournal
from compressor.training.trainer import Trainer

METHODS = (
    "hessian/loss",
    "fisher/score",
    *(f"{name}/score" for name in ("hessian", "taylor", "activation", "none", "random")),
    "fisher/loss",
    "hessian/uniform",
    "none/uniform",
)
FEW, MANY, BELOW = 512, 1024, 0.40  # calibration rows, and the share of operations below which there are more


@dataclass
class Table:
    """The results so far, in a file of one line each."""

    file: Path

    def results(self) -> list[dict[str, Any]]:
        """Read the lines."""
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    def has(self, **row: Any) -> bool:
        """Whether a row is there."""
        return any(all(result[key] == value for key, value in row.items()) for result in self.results())

    def add(self, **row: Any) -> None:
        """Append a row, and show it."""
        with self.file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def judged(start: Start, method: str, seed: int, n_rows: int) -> tuple[Judgement, list[Any], Trainer, float]:
    """Let a criterion judge all units, and give the rows and the seconds too."""
    name = method.partition("/")[0]
    criterion = discover(criteria, Criterion)[name]
    trainer = Trainer(start.data, None, DryJournal(Path("prune"), "", ""), seed)
    widths = select_usual(start.model.widths(), None)
    began = time.process_time()
    rows = trainer.calibration(Calibration(examples=n_rows))
    judgement = choice.judge(start.model, widths, criterion, name, criterion.start(widths, seed), rows)
    return judgement, rows, trainer, time.process_time() - began


def measured(
    start: Start, file: Path, judgement: Judgement, how: Any, rows: Any, trainer: Trainer
) -> tuple[Any, float]:
    """Measure the table of damages, or read it, and give the seconds that it took."""
    if not file.exists():
        began = time.process_time()
        damages = choice.measured(start.model, judgement, how, rows, trainer.judged())
        file.write_text(json.dumps({"damages": damages, "seconds": time.process_time() - began}))
    saved = json.loads(file.read_text())
    return saved["damages"], saved["seconds"]


def rows_of(start: Start, given: argparse.Namespace, table: Table) -> Iterator[dict[str, Any]]:
    """Yield what is not there yet, all levels of a judgement one after another."""
    for seed in given.seeds:
        for method in given.methods:
            for n_rows in sorted({FEW if share >= BELOW else MANY for share in given.shares}):
                shares = [share for share in given.shares if (FEW if share >= BELOW else MANY) == n_rows]
                yield from _of_judgement(start, given, table, {"method": method, "seed": seed, "rows": n_rows}, shares)


def _of_judgement(
    start: Start, given: argparse.Namespace, table: Table, key: dict[str, Any], shares: list[float]
) -> Iterator[dict[str, Any]]:
    wanted = [(how, share) for how in given.updates for share in shares]
    wanted = [(how, share) for how, share in wanted if not table.has(**key, update=how, share=share)]
    if not wanted:
        return
    judgement, rows, trainer, judging = judged(start, key["method"], key["seed"], key["rows"])
    allocate: Any = key["method"].partition("/")[2]
    for how, share in wanted:
        file = table.file.with_name(f"damages-{key['method'].replace('/', '-')}-{key['seed']}-{key['rows']}-{how}.json")
        damages, measuring = None, 0.0
        if allocate == "loss":
            damages, measuring = measured(start, file, judgement, how, rows, trainer)
        model, began = start.model.copy(), time.process_time()
        kept = choice.kept_by_flops(model, judgement, share, allocate, damages)
        choice.cut_(model, judgement, kept, how, rows)
        seconds = time.process_time() - began + judging + measuring
        accuracy = metrics(model.task, logits_of(model), start.data.report, 32)["accuracy"]
        yield {**key, "update": how, "share": share, "accuracy": accuracy, "cpu_s": round(seconds, 1), "kept": kept}


def summary(results: list[dict[str, Any]], shares: list[float]) -> Iterator[str]:
    """Yield a table: mean over seeds, with their number."""
    yield f"| criterion/allocate | update | {' | '.join(f'{share:.2f}' for share in shares)} | CPU s |"
    yield "|---|---|" + "---|" * (len(shares) + 1)
    for method, how in dict.fromkeys((result["method"], result["update"]) for result in results):
        own = [result for result in results if (result["method"], result["update"]) == (method, how)]
        cells = []
        for share in shares:
            found = [result["accuracy"] for result in own if result["share"] == share]
            cells.append(f"{statistics.mean(found):.4f} ({len(found)})" if found else "")
        seconds = statistics.median(result["cpu_s"] for result in own)
        yield f"| {method} | {how} | {' | '.join(cells)} | {seconds:.0f} |"


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=list(METHODS), help=", ".join(METHODS))
    parser.add_argument("--shares", nargs="*", type=float, default=[0.5, 0.4, 0.3, 0.2], help="of operations left")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2], help="of the calibration rows")
    parser.add_argument("--updates", nargs="*", default=["least_squares", "none"])
    parser.add_argument("--checkpoint", default="../shared/models/minilm-sst2")
    parser.add_argument("--task", default="text-classification")
    parser.add_argument("--dataset", default="../shared/data/sst2")
    parser.add_argument("--runs", type=Path, default=Path("runs/one_shot"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.runs.mkdir(parents=True, exist_ok=True)
    model = {"checkpoint": given.checkpoint, "task": given.task}
    stages = [{"stage": "shrink"}]
    start = begin(parse({"model": model, "data": {"dataset": given.dataset}, "stages": stages}))
    start.model.net.eval()
    table = Table(given.runs / "results.jsonl")
    with flushing_denormals():
        for row in rows_of(start, given, table):
            table.add(**row)
    print(f"cpu: {cpu()['model']}; one thread", *summary(table.results(), given.shares), sep="\n")


if __name__ == "__main__":
    main()
