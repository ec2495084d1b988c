"""Fuzz the `compress` command: `python -m tests.fuzz --inputs 2000 --seed 0`."""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import rich.progress

from . import judge
from .kinds import KINDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Try spoiled inputs, print counts and failures; exit code 1 if there are failures."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Try spoiled inputs on compress.")
    parser.add_argument("--inputs", type=int, default=2000, help="how many, all kinds in turn (default: 2000)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first input; the next one has the next (default: 0)"
    )
    parser.add_argument("--kind", help="only inputs of this kind, as a failure's line says")
    parser.add_argument("--keep", type=Path, help="folder for what failing inputs wrote (default: a temporary one)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        home = options.keep or Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        return _fuzz(options, home.resolve())


def _fuzz(options: argparse.Namespace, home: Path) -> int:
    os.environ |= {"HF_HOME": str(home / "cache"), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(home / "cache/inductor")
    names = [options.kind] if options.kind else list(KINDS)
    bench = judge.prepare(home)
    outcomes = []
    for seed in rich.progress.track(
        range(options.seed, options.seed + options.inputs), "inputs", disable=not sys.stdout.isatty()
    ):
        kind = names[seed % len(names)]
        outcome = judge.attempt(bench, kind, KINDS[kind], seed)
        outcomes.append(outcome)
        if outcome.faults:
            _say(f"--kind {kind} --seed {seed} --inputs 1: {'; '.join(outcome.faults)[:600]}")
    _say(table(outcomes))
    return 1 if any(outcome.faults for outcome in outcomes) else 0


def table(outcomes: Sequence[judge.Outcome]) -> str:
    """Count the inputs by kind and exit code."""
    codes = sorted({outcome.exit_code for outcome in outcomes})
    lines = [["kind", *(f"exit {code}" for code in codes), "failed", "slowest s", "largest GB"]]
    for kind in (*dict.fromkeys(outcome.kind for outcome in outcomes), "all"):
        of_kind = [outcome for outcome in outcomes if kind in (outcome.kind, "all")]
        counts = Counter(outcome.exit_code for outcome in of_kind)
        slowest, largest = max(each.seconds for each in of_kind), max(each.peak_bytes for each in of_kind) / 1e9
        n_failed = sum(bool(outcome.faults) for outcome in of_kind)
        lines.append([kind, *(str(counts[code]) for code in codes), str(n_failed), f"{slowest:.1f}", f"{largest:.1f}"])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(word.rjust(width) for word, width in zip(line, widths, strict=True)) for line in lines)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
