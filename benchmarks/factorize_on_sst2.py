"""What factorized products of the encoder give on SST-2: accuracy, size and time, without training and after it.

Run: python benchmarks/factorize_on_sst2.py [METHOD ...] [--budgets 0.75 0.5 0.25] [--steps 0 1000] [--seed 0]

Every row is a run of its own, so a script that is stopped goes on where it was: start it again. Methods that are for
storage are kept as they are (``if_slower: keep``), so that their times show. Training uses a GPU where there is one;
times are the processor's.
"""

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import compressor
from compressor.report import compare, speed
from compressor.report.document import Report

METHODS: dict[str, list[dict[str, Any]]] = {  # a stage for each kind of layer that needs a form of its own
    "whitened svd": [{"method": "svd"}],
    "svd": [{"method": "svd", "norm": "weight"}],
    "monarch": [{"method": "monarch", "form": {"blocks": [4, 4]}}],
    "kronecker": [{"method": "kronecker", "form": {"shape": [16, 48]}}],
    "tensor train": [{"method": "tensor_train", "norm": "weight"}],
    "tucker": [{"method": "tucker", "norm": "weight"}],
    "cp": [  # of three modes: of four, the terms for the same parameters would be four times as many
        {"method": "cp", "norm": "weight", "layers": layers, "form": {"modes": modes, "n_iterations": 50}}
        for layers, modes in (
            (["*.intermediate.dense"], [[32, 48], [384]]),
            (["*.attention.*"], [[16, 24], [384]]),
            (["*.layer.?.output.dense"], [[384], [32, 48]]),
        )
    ],
}
TABLES: dict[str, list[dict[str, Any]]] = {  # of the table of word embeddings in place of the products; by name only
    "embeddings": [{"method": "svd", "norm": "weight", "layers": ["*word_embeddings"]}],
    "embeddings by frequency": [
        {"method": "svd", "layers": ["*word_embeddings"], "calibration": {"examples": 4096}}  # counts words in these
    ],
}
DISTILL = {"logits": 0.7, "temperature": 2.0, "hidden_states": 5.0}
RETRAIN = {"freeze": ["*word_embeddings*"], "labels": 0.3, "distill": DISTILL}
HEAD = [
    "| method | parameters left | trained | file | accuracy | MiB | faster than dense, 1x32 | 1x128 |",
    "|---|---|---|---|---|---|---|---|",
]


def rows(name: str, budget: float, n_steps: int, report: Report) -> Iterator[str]:
    """Yield a line for each file of a run, with how many times faster it is than the dense one of its precision."""
    clock = speed.clock(report["variants"])
    trained = f"{n_steps:,} steps" if n_steps else "no"
    for pair in compare.pairs(report["variants"]):
        if pair.original is None or pair.result is None:
            continue
        factors = (clock.factor(*both) for both in zip(pair.original["bench"], pair.result["bench"], strict=True))
        times = " | ".join(f"{factor:.2f}x" for factor in factors if factor)
        size, accuracy = pair.result["size_bytes"] / 2**20, f"{pair.result['accuracy']:.4f}"
        yield f"| {name} | {budget:.0%} | {trained} | {pair.precision} | {accuracy} | {size:.1f} | {times} |"


def recipe(name: str, budget: float, n_steps: int, given: argparse.Namespace) -> dict[str, Any]:
    """Write the recipe of a row."""
    stages = [
        {"stage": "factorize", "budget": budget, "if_slower": "keep", **each} for each in (METHODS | TABLES)[name]
    ]
    if n_steps:
        stages[-1]["retrain"] = {"steps": n_steps, "lr": given.lr, "batch_size": given.batch_size, **RETRAIN}
    return {
        "seed": given.seed,
        "model": {"checkpoint": given.checkpoint, "task": "text-classification"},
        "data": {"dataset": given.dataset},
        "stages": [*stages, {"stage": "export"}, {"stage": "quantize"}],
        "bench": {"lengths": given.lengths},
    }


def main() -> None:
    """Run what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=list(METHODS), help=", ".join(METHODS | TABLES))
    parser.add_argument("--budgets", nargs="*", type=float, default=[0.75, 0.5, 0.25])
    parser.add_argument("--steps", nargs="*", type=int, default=[0, 1000], help="0 is without training")
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0, help="of the calibration rows and the training")
    parser.add_argument("--lengths", nargs="*", type=int, default=[32, 128], help="tokens of the texts that are timed")
    parser.add_argument("--checkpoint", default="../shared/models/minilm-sst2")
    parser.add_argument("--dataset", default="../shared/data/sst2")
    parser.add_argument("--runs", type=Path, default=Path("runs/factorize_on_sst2"))
    given = parser.parse_args()
    table = list(HEAD)
    for n_steps, name, budget in product(given.steps, given.methods, given.budgets):
        folder = given.runs / f"{name.replace(' ', '_')}-{round(100 * budget)}-{n_steps}-{given.seed}"
        table += rows(name, budget, n_steps, compressor.run(recipe(name, budget, n_steps, given), run_dir=folder))
        print(table[-2], table[-1], sep="\n", flush=True)
    print("\n".join(table))


if __name__ == "__main__":
    main()
