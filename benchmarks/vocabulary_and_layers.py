"""What removing tokens, and removing layers, gives on SST-2: accuracy, size and time against the original.

Run: python benchmarks/vocabulary_and_layers.py [vocabulary] [layers] [--checkpoint FOLDER] [--dataset FOLDER]

Tokens that occur nowhere in the training split go, without any training; two of six layers go, those without which the
held-out loss is lowest, and 600 steps of distillation follow. A run that is stopped goes on where it was: start the
script again.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compressor
from compressor.report.document import Report

DISTILL = {"logits": 0.7, "temperature": 2.0, "hidden_states": 5.0}
RETRAIN = {"steps": 600, "lr": 3e-4, "freeze": ["*word_embeddings*"], "labels": 0.3, "distill": DISTILL}
FILES: list[dict[str, Any]] = [{"stage": "export"}, {"stage": "quantize"}]
STAGES: dict[str, list[dict[str, Any]]] = {
    "vocabulary": [{"stage": "trim_vocabulary"}, *FILES],
    "layers": [{"stage": "drop_layers", "n_layers": 4}, {"stage": "finetune", "retrain": RETRAIN}, *FILES],
}


def rows(name: str, report: Report) -> Iterator[str]:
    """Yield a line for each file of a run: what it is right in, how large it is, how long one inference takes."""
    for variant in report["variants"]:
        times = " | ".join(f"{entry['p50_ms']:.2f}" for entry in variant["bench"])
        size = variant["size_bytes"] / 2**20
        yield f"| {name} | {variant['name']} | {variant['accuracy']:.4f} | {size:.1f} | {times} |"


def main() -> None:
    """Run what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("removals", nargs="*", default=list(STAGES), help="vocabulary, layers, or both")
    parser.add_argument("--checkpoint", default="../shared/models/minilm-sst2")
    parser.add_argument("--dataset", default="../shared/data/sst2")
    parser.add_argument("--runs", type=Path, default=Path("runs/vocabulary_and_layers"))
    given = parser.parse_args()
    table = [
        "| removed | file | accuracy | MiB | p50 ms, 32 tokens | p50 ms, 128 tokens |",
        "|---|---|---|---|---|---|",
    ]
    for name in given.removals:
        recipe = {
            "model": {"checkpoint": given.checkpoint, "task": "text-classification"},
            "data": {"dataset": given.dataset},
            "stages": STAGES[name],
        }
        table += rows(name, compressor.run(recipe, run_dir=given.runs / name))
    print("\n".join(table))


if __name__ == "__main__":
    main()
