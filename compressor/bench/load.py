"""Load time and peak memory of one file, from one child process that opens nothing else."""

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort

from . import sessions
from .errors import BenchError, InputError

N_LOADS = 3
N_RUNS = 3  # the first ones reserve the arena and the scratch memory
CHUNK_BYTES = 1 << 20
STATUS = Path("/proc/self/status")


def in_child(file: Path, shape: Mapping[str, object]) -> dict[str, float | None]:
    """Run `weigh` in a fresh process: this folder, or the archive it lies in, is a program."""
    program = [sys.executable, str(Path(__file__).parent), "--load", json.dumps({"file": str(file), **shape})]
    child = subprocess.run(program, capture_output=True, text=True, check=False)
    if child.returncode in (BenchError.exit_code, InputError.exit_code):
        raise InputError(child.stderr.strip().splitlines()[-1].removeprefix("bench: "))
    if child.returncode:
        raise InputError(f"{file}: the process that loads it ended with {child.returncode}, maybe out of memory")
    measured: dict[str, float | None] = json.loads(child.stdout)
    return measured


def weigh(
    file: str, n_threads: int, batch_size: int, length: int, inputs: Mapping[str, Mapping[str, Any]]
) -> dict[str, float | None]:
    """Time the opening of a file and see how far memory rises above what Python and onnxruntime take."""
    path = Path(file)
    _read_through(path)  # so that no file is timed on a cold disk and another from memory
    before = _peak_bytes()
    first_ms, session = _open(path, n_threads)
    feeds = sessions.random_inputs(session, batch_size, length, inputs, seed=0)
    for _ in range(N_RUNS):
        sessions.run_once(session, feeds, path)
    after = _peak_bytes()
    del session
    load_ms = statistics.median([first_ms, *(_open(path, n_threads)[0] for _ in range(N_LOADS - 1))])
    return {"load_ms": load_ms, "peak_memory_bytes": None if before is None or after is None else after - before}


def _open(path: Path, n_threads: int) -> tuple[float, ort.InferenceSession]:
    start = time.perf_counter()
    session = sessions.open_session(path, n_threads)
    return (time.perf_counter() - start) * 1e3, session


def size_bytes(file: Path) -> int:
    """Count the bytes of a file and of the external data beside it."""
    beside = (path for path in file.parent.glob(f"{file.name}?data*") if path.is_file())
    return file.stat().st_size + sum(path.stat().st_size for path in beside)


def _read_through(file: Path) -> None:
    with file.open("rb") as stream:
        while stream.read(CHUNK_BYTES):
            pass


def _peak_bytes() -> int | None:
    """Highest resident memory so far; Linux alone counts it from the start of the program, not of its parent."""
    if not STATUS.exists():
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    return int(found[1]) * 1024 if found else None
