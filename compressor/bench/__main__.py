"""Measure ONNX files: `python -m compressor.bench PLAN.json OUT.json`, or `python3 bench.pyz` beside its plan."""

import argparse
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

if not __package__:  # a copied folder or a zip archive: make it the package that it is within compressor
    _home = ModuleType("bench")
    _home.__path__ = [str(Path(__file__).parent)]
    sys.modules["bench"] = _home
    __package__ = "bench"
    __spec__ = ModuleSpec("bench.__main__", None)  # what later Pythons ask for the package

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime 1.31 calls its maker, from a thread of our process
if sys.version_info < (3, 10) or not all(map(importlib.util.find_spec, ("numpy", "onnxruntime"))):
    _needs = f"needs Python 3.10 or newer with numpy and onnxruntime, this is {sys.version.split()[0]}"
    print(f"bench: {_needs}; {sys.executable} -m pip install numpy onnxruntime", file=sys.stderr)  # noqa: T201
    sys.exit(3)

from .counter import run_marked
from .errors import BenchError, InputError
from .gate import gate, read_gate_plan
from .gate_result import GateResult
from .load import weigh
from .measure import measure
from .parent import end_with
from .plan import read_plan
from .result import Result

INTERRUPTED = 130
BESIDE = Path(__file__).parent.parent  # the folder of a bundle, if this is its program


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what a plan asks for; the last line of stdout is what OUT holds."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("plan", type=Path, nargs="?", default=BESIDE / "plan.json", help="JSON file: what to measure")
    parser.add_argument("out", type=Path, nargs="?", default=BESIDE / "bench.json", help="JSON file to write")
    parser.add_argument("--gate", action="store_true", help="the plan is a gate's: is the new file slower?")
    parser.add_argument("--load", help=argparse.SUPPRESS)  # our own child process: one file, as JSON
    parser.add_argument("--count", help=argparse.SUPPRESS)  # likewise, under valgrind
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)  # of ours: this process ends when that one does
    given = parser.parse_args(arguments)
    if given.parent:
        end_with(given.parent)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that our own child processes end with us
    try:
        answer = _answer(given)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    print(json.dumps(answer), flush=True)  # noqa: T201
    return 0


def _answer(given: argparse.Namespace) -> object:
    if given.load:
        return weigh(**json.loads(given.load))
    if given.count:
        return run_marked(**json.loads(given.count))
    return _measure(given.plan, given.out, given.gate)


def _measure(plan: Path, out: Path, is_gate: bool) -> Result | GateResult:
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
