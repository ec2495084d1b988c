"""Run the bench in a process of its own: threads and memory of this one would colour its numbers."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.errors import InputError, RecipeError
from compressor.files import file_digest, read_json, write_json
from compressor.progress import say
from compressor.rundir import RunDir, chain

OURS = "bench: "  # what the bench puts before an error


def measure(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Measure what a plan lists (absolute file names) and return what the bench wrote."""
    return _bench(plan)


def gate(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Let the bench decide whether the new file of a gate's plan is slower than its baseline."""
    return _bench(plan, "--gate")


def _bench(plan: Mapping[str, Any], *flags: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="compress-") as name:
        plan_file, out = Path(name, "plan.json"), Path(name, "bench.json")
        write_json(plan_file, plan)
        command = [sys.executable, "-m", "compressor.bench", *flags, str(plan_file), str(out)]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        with child, ending(child):
            remark = pass_on(child.stderr or ())
        if child.returncode:
            raise failure(child.returncode, remark)
        result: dict[str, Any] = read_json(out)
        return result


@contextlib.contextmanager
def ending(child: "subprocess.Popen[Any]") -> Iterator[None]:
    """End a process with this one: it would go on measuring for nobody, and disturb what is measured next."""
    try:
        yield
    except BaseException:
        child.terminate()
        raise


def pass_on(lines: Iterable[str]) -> str:
    """Show the progress of a bench and return its last line, which says why if it failed."""
    remark = ""
    for line in lines:
        remark = line.strip()
        if not remark.startswith(OURS):
            say(remark)
    return remark


def failure(exit_code: int, remark: str) -> Exception:
    """Make of a bench's exit code and last line the error that it is here."""
    kind = {error.exit_code: error for error in (RecipeError, InputError)}.get(exit_code, RuntimeError)
    return kind(remark.removeprefix(OURS))


def measure_run(files: RunDir, variants: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
    """Measure the original and the results of a run, unless these very files were measured before."""
    plan = {"format": 1, "variants": variants, **settings}
    key = chain("bench", plan, [file_digest(files.path / each["file"]) for each in variants])
    if files.is_measured(key):
        say("bench                    done before")
        return
    files.forget_bench()
    if not variants:
        return
    absolute = [{**each, "file": str((files.path / each["file"]).resolve())} for each in variants]
    result = measure({**plan, "variants": absolute})
    name_files(result, variants)
    write_json(files.bench_plan, plan)
    write_json(files.bench, result)
    files.mark_measured(key)


def name_files(result: dict[str, Any], variants: Sequence[Mapping[str, Any]]) -> None:
    """Give the files in a result the names that they have here, wherever they were measured."""
    for found, each in zip(result["variants"], variants, strict=True):
        found["file"] = each["file"]
