"""Error rates of `compress gate`: identical files, 5 % and 10 % more FLOPs, and identical files on busy cores.

Run on a quiet machine: python benchmarks/gate.py [--runs 20] [--budget 10] [--hidden-size 384]

About ten minutes. The files are BERTs of MiniLM's shape with random weights; more FLOPs are wider FFNs. On a
busy machine, inconclusive is a right answer; a regression of identical files never is.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification

from compressor.bench.gate_result import GateDocument
from compressor.bench.host import cpu
from compressor.measure import launch
from compressor.model import Model, Task
from compressor.model.checkpoint import arch_of
from compressor.model.outputs import n_flops
from compressor.stages import export
from compressor.training.context import Context

NO_DATA: Any = None  # exporting reads none
LENGTH = 32
GROWTH = (0.0, 0.05, 0.10)


def build(hidden_size: int, ffn_size: int) -> Model:
    """Build a network, the same weights each time."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=hidden_size, num_hidden_layers=6, num_attention_heads=hidden_size // 32, intermediate_size=ffn_size
    )
    tokenizer = SimpleNamespace(pad_token_id=0, save_pretrained=lambda folder: None)
    task = Task("text-classification", ("a", "b"), tokenizer, ("input_ids", "attention_mask"))
    return Model(BertForSequenceClassification(config).eval(), arch_of("bert"), task)


def files(hidden_size: int, folder: Path) -> dict[float, Path]:
    """Export the network and the wider ones; print how much more work they really are."""
    made, ffn_size = {}, 4 * hidden_size
    before = n_flops(build(hidden_size, ffn_size), 1, LENGTH)
    a_neuron = n_flops(build(hidden_size, ffn_size + 1), 1, LENGTH) - before
    for growth in GROWTH:
        model = build(hidden_size, ffn_size + round(growth * before / a_neuron))
        path = folder / f"{growth:.2f}"
        path.mkdir()
        context = Context(path, "", 0, data=NO_DATA, originals=None)
        made[growth] = export.run(model, export.Options(stage="export"), context).path
        print(f"FFN {model.net.config.intermediate_size}: FLOPs {n_flops(model, 1, LENGTH) / before - 1:+.2%}")
    return made


@contextmanager
def busy_cores():
    """Hold every core with another process."""
    children = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


def row(name: str, new: Path, baseline: Path, n_runs: int, budget_s: float) -> str:
    """Gate the files again and again, and count the verdicts."""
    plan: GateDocument = {"format": 1, "new": str(new), "baseline": str(baseline), "budget_s": budget_s}
    runs = [launch.gate({**plan, "seed": seed}) for seed in range(n_runs)]
    verdicts = Counter(run["verdict"] for run in runs)
    counts = [str(verdicts[verdict]) for verdict in ("regression", "inconclusive", "pass", "improved")]
    cells = [name, str(n_runs), *counts]
    for shapes in zip(*(run["shapes"] for run in runs), strict=True):
        ratio = statistics.median(each["ratio"] for each in shapes)
        half_width = statistics.median((each["high"] - each["low"]) / 2 for each in shapes)
        n_blocks = statistics.median(each["n_blocks"] for each in shapes)
        cells.append(f"{ratio:+.2%} ± {half_width:.2%} ({n_blocks:g})")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="of identical files; the others get half as many")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds of each run")
    parser.add_argument("--hidden-size", type=int, default=384, help="a multiple of 32")
    given = parser.parse_args()
    half = (given.runs + 1) // 2
    with tempfile.TemporaryDirectory() as folder:
        made = files(given.hidden_size, Path(folder))
        same = made[0.0]
        print(f"\n{cpu()['model']}, {os.cpu_count()} cores, {given.budget:g} s each, margin 2 %")
        print("| files | runs | regression | inconclusive | pass | improved | 1 x 32 (blocks) | 1 x 128 (blocks) |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        print(row("identical", same, same, given.runs, given.budget), flush=True)
        for growth in GROWTH[1:]:
            print(row(f"{growth:.0%} more FLOPs", made[growth], same, half, given.budget), flush=True)
        with busy_cores():
            print(row("identical, all cores busy", same, same, half, given.budget), flush=True)


if __name__ == "__main__":
    main()
