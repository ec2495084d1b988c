"""Measure ONNX files: `python -m compressor.bench PLAN.json OUT.json`, or this folder copied anywhere."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

if not __package__:  # a copied folder or a zip archive: make it the package that it is within compressor
    _home = ModuleType("bench")
    _home.__path__ = [str(Path(__file__).parent)]
    sys.modules["bench"] = _home
    __package__ = "bench"

from .errors import BenchError, InputError
from .gate import gate, read_gate_plan
from .load import weigh
from .measure import measure
from .plan import read_plan

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what a plan asks for; the last line of stdout is what OUT holds."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("plan", type=Path, nargs="?", help="JSON file: what to measure")
    parser.add_argument("out", type=Path, nargs="?", help="JSON file to write")
    parser.add_argument("--gate", action="store_true", help="the plan is a gate's: is the new file slower?")
    parser.add_argument("--load", help=argparse.SUPPRESS)  # our own child process: one file, as JSON
    given = parser.parse_args(arguments)
    if not given.load and not given.out:
        parser.error("give a plan and a file to write")
    try:
        found = weigh(**json.loads(given.load)) if given.load else _measure(given.plan, given.out, given.gate)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    print(json.dumps(found), flush=True)  # noqa: T201
    return 0


def _measure(plan: Path, out: Path, is_gate: bool) -> dict[str, object]:
    """Run a plan and write the result beside its place before moving it there."""
    result = gate(read_gate_plan(plan), _say) if is_gate else measure(read_plan(plan), _say)
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        beside.replace(out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from error
    return result


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
