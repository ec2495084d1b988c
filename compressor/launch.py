"""Run the bench in a process of its own: threads and memory of this one would colour its numbers."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.errors import InputError, RecipeError
from compressor.progress import say
from compressor.rundir import read_json, write_json

OURS = "bench: "  # what the bench puts before an error


def measure(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Measure what a plan lists (absolute file names) and return what the bench wrote."""
    with tempfile.TemporaryDirectory(prefix="compress-") as name:
        plan_file, out = Path(name, "plan.json"), Path(name, "bench.json")
        write_json(plan_file, plan)
        command = [sys.executable, "-m", "compressor.bench", str(plan_file), str(out)]
        remark = ""
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
            for line in child.stderr or ():
                remark = line.strip()
                if not remark.startswith(OURS):
                    say(remark)
        if child.returncode:
            kind = {error.exit_code: error for error in (RecipeError, InputError)}.get(child.returncode, RuntimeError)
            raise kind(remark.removeprefix(OURS))
        result: dict[str, Any] = read_json(out)
        return result
