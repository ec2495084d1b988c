"""Run the bench in a separate process: threads and memory of this one would distort its numbers."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from compressor.bench.gate_result import GateDocument, GateResult
from compressor.bench.result import FORMAT, PlanDocument, PlannedVariant, PlanSettings, Result
from compressor.errors import InputError, RecipeError
from compressor.files import file_digest, read_json, write_json
from compressor.progress import say
from compressor.rundir import RunDir, chain
from compressor.temporary import temporary_folder

KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # exit codes of a process, here and of a shell
OUT_OF_MEMORY = "killed, as systems do when memory runs out; free some, or measure smaller batch sizes and lengths"
OURS = "bench: "  # what the bench puts before an error
ERRORS = {error.exit_code: error for error in (RecipeError, InputError)}  # what an exit code of the bench means here


def measure(plan: PlanDocument) -> Result:
    """Measure what a plan lists (absolute file names) and return what the bench wrote."""
    result: Result = _bench(plan)
    return result


def gate(plan: GateDocument) -> GateResult:
    """Let the bench decide whether the new file of a gate's plan is slower than its baseline."""
    result: GateResult = _bench(plan, "--gate")
    return result


def _bench(plan: PlanDocument | GateDocument, *flags: str) -> Any:
    with temporary_folder() as home:
        plan_file, out = home.path / "plan.json", home.path / "bench.json"
        write_json(plan_file, plan)
        program = [sys.executable, "-m", "compressor.bench", "--parent", str(os.getpid())]
        command = [*program, *flags, str(plan_file), str(out)]
        child = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(home.lock,),
            env={**os.environ, "TMPDIR": str(home.path)},  # the bench is killed with us, and then removes nothing
        )
        with child, ending(child):
            remark = pass_on(child.stderr or ())
        if child.returncode:
            raise failure(child.returncode, remark)
        return read_json(out)


@contextlib.contextmanager
def ending(child: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> Iterator[None]:
    """End a process together with this one; left alone, it would disturb what is measured next."""
    try:
        yield
    except BaseException:
        child.terminate()
        raise


def pass_on(lines: Iterable[str]) -> str:
    """Show the progress of a bench and return its last line, which holds the error message if it failed."""
    remark = ""
    for line in lines:
        remark = line.strip()
        if not remark.startswith(OURS):
            say(remark)
    return remark


def failure(exit_code: int, remark: str) -> Exception:
    """Turn the exit code and the last line of a bench into an exception."""
    if exit_code in KILLED:
        return InputError(f"bench: {OUT_OF_MEMORY}")
    kind = ERRORS.get(exit_code, RuntimeError)
    return kind(remark.removeprefix(OURS))


def measure_run(files: RunDir, variants: Sequence[PlannedVariant], settings: PlanSettings) -> None:
    """Measure the original and the results of a run, unless these very files were measured before."""
    plan: PlanDocument = {"format": FORMAT, "variants": list(variants), **settings}
    key = chain("bench", plan, [file_digest(files.path / variant["file"]) for variant in variants])
    if files.is_measured(key):
        say("bench                    done before")
        return
    files.forget_bench()
    if not variants:
        return
    absolute: list[PlannedVariant] = [
        {**variant, "file": str((files.path / variant["file"]).absolute())} for variant in variants
    ]
    result = measure({**plan, "variants": absolute})
    name_files_(result, variants)
    write_json(files.bench_plan, plan)
    write_json(files.bench, result)
    files.mark_measured(key)


def name_files_(result: Result, variants: Sequence[PlannedVariant]) -> None:
    """Give the files in a result the names that they have here, wherever they were measured."""
    for measured, planned in zip(result["variants"], variants, strict=True):
        measured["file"] = planned["file"]
