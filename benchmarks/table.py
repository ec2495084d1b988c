"""Print the README's table from finished runs of one recipe.

Run: python benchmarks/table.py runs/seed-0 runs/seed-1
"""

import json
import sys
from pathlib import Path

from compressor.bench.result import Variant
from compressor.report import compare, measured
from compressor.report.document import Report

MIB = 2**20


def row(variant: Variant, original: Variant, seed: int) -> list[str]:
    """One file: accuracy, p50 with the ratio to the original of its precision, size, parameters."""
    name = variant["name"] if variant["kind"] == "original" else f"{variant['name']}, seed {seed}"
    cells = [name, f"{variant['accuracy']:.4f}"]
    for entry, before in zip(variant["bench"], original["bench"], strict=True):
        ratio = "" if variant is original else f" ({before['p50_ms'] / entry['p50_ms']:.2f}x)"
        cells.append(f"{entry['p50_ms']:.2f} ms{ratio}")
    assert variant["n_params"] is not None
    return [*cells, f"{variant['size_bytes'] / MIB:.1f}", f"{variant['n_params'] / 1e6:.1f} M"]


def main(runs: list[Path]) -> None:
    """Print one Markdown table; the original's rows come from the first run."""
    reports: list[Report] = [json.loads((run / "report" / "report.json").read_text()) for run in runs]
    points = [f"p50 {entry['batch_size']} x {entry['length']}" for entry in reports[0]["variants"][0]["bench"]]
    lines = [["file", "accuracy", *points, "MiB", "parameters"], ["---"] * (len(points) + 4)]
    for index, report in enumerate(reports):
        seed = report["environment"]["seed"]
        variants = [measured.variant(variant) for variant in report["variants"]]
        originals = {pair.precision: pair.original for pair in compare.pairs(variants)}
        for variant in variants:
            original = originals[variant["precision"]]
            if original and (index == 0 or variant["kind"] == "result"):
                lines.append(row(variant, original, seed))
    for line in lines:
        print(f"| {' | '.join(line)} |")
    environment = reports[0]["environment"]
    minutes = ", ".join(f"{sum(stage['seconds'] for stage in report['stages']) / 60:.0f}" for report in reports)
    print(f"\nCPU: {environment['cpu']['model']}, {environment['n_cores']} cores; the stages took {minutes} minutes")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
