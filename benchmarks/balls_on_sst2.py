"""Accuracy of the flagship recipe with one ball or another, after a small budget, to choose its default by.

Run: python benchmarks/balls_on_sst2.py [--checkpoint FOLDER] [--dataset FOLDER] [--runs FOLDER]

Every variant takes 1,500 steps: 8 rounds of 60, then 1,020 after the cut. All start with seed 0; the two that are
best over both sparsities take two more seeds. A run that is stopped goes on where it was: start the script again.
"""

import argparse
from pathlib import Path
from typing import Any

import datasets
import torch
import yaml
from torch.nn import functional
from transformers import AutoTokenizer

import compressor

RECIPE = Path(__file__).parents[1] / "recipes" / "sst2_l1inf.yaml"
SPARSITIES = (0.5, 0.75)
VARIANTS = {
    "l1_inf": {"ball": "l1_inf", "importance": "none"},
    "l1_inf_exact": {"ball": "l1_inf_exact", "importance": "none"},
    "l1_2": {"ball": "l1_2", "importance": "none"},
    "l1_inf, Taylor": {"ball": "l1_inf", "importance": "taylor"},
}
ROUNDS, STEPS_PER_ROUND, STEPS_AFTER = 8, 60, 1020
N_BEST, MORE_SEEDS = 2, (1, 2)


def recipe_of(variant: str, sparsity: float, seed: int, checkpoint: str, dataset: str) -> dict[str, Any]:
    """Give the flagship recipe up to its long training, with another ball and fewer steps."""
    recipe: dict[str, Any] = yaml.safe_load(RECIPE.read_text())
    dropped, project, shrink, finetune = recipe["stages"][:4]
    project |= {**VARIANTS[variant], "column_sparsity": sparsity, "rounds": ROUNDS}
    project["retrain"]["steps"], finetune["retrain"]["steps"] = STEPS_PER_ROUND, STEPS_AFTER
    return {
        "seed": seed,
        "model": {**recipe["model"], "checkpoint": checkpoint},
        "data": {**recipe["data"], "dataset": dataset},
        "stages": [dropped, project, shrink, finetune],
    }


@torch.no_grad()
def validated(folder: Path, dataset: str) -> tuple[float, float]:
    """Accuracy and cross-entropy on the validation split, on which nothing was chosen."""
    net, tokenizer = compressor.load(folder), AutoTokenizer.from_pretrained(folder)
    rows = datasets.load_dataset(dataset, split="validation")
    labels, logits = torch.tensor(rows["label"]), []
    for batch in rows.iter(64):
        tokens = tokenizer(batch["sentence"], padding=True, truncation=True, return_tensors="pt")
        logits.append(net(**tokens).logits)
    scores = torch.cat(logits)
    return float((scores.argmax(1) == labels).float().mean()), float(functional.cross_entropy(scores, labels))


def main() -> None:
    """Train what is not trained yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="../shared/models/minilm-sst2")
    parser.add_argument("--dataset", default="../shared/data/sst2")
    parser.add_argument("--runs", type=Path, default=Path("runs/balls_on_sst2"))
    given = parser.parse_args()

    def result(variant: str, sparsity: float, seed: int) -> tuple[float, float]:
        folder = given.runs / f"{variant.replace(', ', '-').lower()}-{sparsity}-{seed}"
        compressor.run(recipe_of(variant, sparsity, seed, given.checkpoint, given.dataset), run_dir=folder)
        return validated(folder / "03-finetune" / "model", given.dataset)

    results = {(variant, sparsity): [result(variant, sparsity, 0)] for sparsity in SPARSITIES for variant in VARIANTS}
    ranked = sorted(VARIANTS, key=lambda name: -sum(results[name, sparsity][0][0] for sparsity in SPARSITIES))
    for seed in MORE_SEEDS:
        for variant in ranked[:N_BEST]:
            for sparsity in SPARSITIES:
                results[variant, sparsity].append(result(variant, sparsity, seed))

    print("| columns | sparsity | accuracy, seed 0 | accuracy, all seeds | cross-entropy, all seeds |")
    print("| --- | --- | --- | --- | --- |")
    for (variant, sparsity), found in results.items():
        accuracies, losses = (", ".join(f"{value:.4f}" for value in values) for values in zip(*found, strict=True))
        print(f"| {variant} | {sparsity:.0%} | {found[0][0]:.4f} | {accuracies} | {losses} |")


if __name__ == "__main__":
    main()
