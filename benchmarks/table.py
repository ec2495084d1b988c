"""Print the README's table from finished runs of one recipe, with times compared as reports compare them.

Run: python benchmarks/table.py runs/seed-0 runs/seed-1
"""

import json
import sys
from pathlib import Path

from compressor.bench.result import Variant
from compressor.report import compare, measured, speed, words
from compressor.report.document import Report

MIB = 2**20


def row(variant: Variant, original: Variant, seed: int, clock: speed.Clock) -> list[str]:
    """One file: accuracy, times with the ratio to the original of its precision, size, parameters."""
    name = variant["name"] if variant["kind"] == "original" else f"{variant['name']}, seed {seed}"
    cells = [name, f"{variant['accuracy']:.4f}"]
    for entry, before in zip(variant["bench"], original["bench"], strict=True):
        factor = None if variant is original else clock.factor(before, entry)
        cells.append(words.ms(clock.ms(entry)) + (f" ({factor:.2f}x)" if factor else ""))
        cells += [] if clock.is_wall else [speed.marked(words.ms(entry["p50_ms"]))]
    assert variant["n_params"] is not None
    return [*cells, f"{variant['size_bytes'] / MIB:.1f}", f"{variant['n_params'] / 1e6:.1f} M"]


def main(runs: list[Path]) -> None:
    """Print one Markdown table; the original's rows come from the first run."""
    reports: list[Report] = [json.loads((run / "report" / "report.json").read_text()) for run in runs]
    variants = [[measured.variant(variant) for variant in report["variants"]] for report in reports]
    files = [variant for each in variants for variant in each]
    clock, note = speed.clock(files), speed.note(files)
    clocks = [clock.title] if clock.is_wall else [clock.title, speed.WALL.title]
    times = [f"{title}, {words.shape(shape)}" for shape in compare.shapes(files) for title in clocks]
    lines = [["file", "accuracy", *times, "MiB", "parameters"], ["---"] * (len(times) + 4)]
    for index, (report, own) in enumerate(zip(reports, variants, strict=True)):
        originals = {pair.precision: pair.original for pair in compare.pairs(own)}
        for variant in own:
            original = originals[variant["precision"]]
            if original and (index == 0 or variant["kind"] == "result"):
                lines.append(row(variant, original, report["environment"]["seed"], clock))
    print(f"{note}\n\n" if note else "", end="")
    for line in lines:
        print(f"| {' | '.join(line)} |")
    environment = reports[0]["environment"]
    minutes = ", ".join(f"{sum(stage['seconds'] for stage in report['stages']) / 60:.0f}" for report in reports)
    print(f"\nCPU: {environment['cpu']['model']}, {environment['n_cores']} cores; the stages took {minutes} minutes")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
