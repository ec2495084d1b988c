"""Load times of files that are opened in turn, and peak memory of one file, from a child process of its own."""

import glob
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.random  # imported here: at its first use a memory limit may hold already
import onnxruntime as ort

from . import sessions
from .errors import BenchError, InputError
from .inputs import read_inputs
from .result import InputFacts, LoadTime, Peak

N_LOADS = 5
N_RUNS = 3  # the first ones reserve the arena and the scratch memory
MIB = CHUNK_BYTES = 1 << 20
OUT_OF_MEMORY = re.compile(r"bad_alloc|(bad|cannot|failed to) (allocat|map)|MemoryError", re.IGNORECASE)
IDENTITY = (  # an ONNX file of one operation, from x to y, one number each
    b'\x08\x07:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02'
    b"\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
STATUS = Path("/proc/self/status")


def times(files: Mapping[str, Path], n_threads: int, rng: random.Random) -> dict[str, LoadTime]:
    """Open files from the page cache in turn, in an order drawn each time, so that a slow spell meets all alike.

    Parameters
    ----------
    files : mapping from name to Path
        ONNX files.
    n_threads : int
        Threads of their sessions.
    rng : random.Random
        Draws the order.

    Returns
    -------
    dict from name to dict
        ``load_ms``, the median of five times to create a session, and ``load_range_ms``.
    """
    _wake_up()
    for file in files.values():
        _read_through(file)  # so that no file is timed on a cold disk and another from memory
    opened_ms: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(N_LOADS):
        for name in rng.sample(list(files), len(files)):
            opened_ms[name].append(_open_ms(files[name], n_threads))
    return {
        name: {"load_ms": statistics.median(each), "load_range_ms": [min(each), max(each)]}
        for name, each in opened_ms.items()
    }


def in_child(file: Path, job: Mapping[str, object]) -> Peak:
    """Run `weigh` in a fresh process: this folder, or the archive it lies in, is a program."""
    program = [sys.executable, str(Path(__file__).parent), "--parent", str(os.getpid())]
    program += ["--load", json.dumps({"file": str(file), **job})]
    child = subprocess.run(program, capture_output=True, text=True, check=False)
    if not child.returncode:
        measured: Peak = json.loads(child.stdout)
        return measured
    line = (child.stderr.strip().splitlines() or [""])[-1]
    limit = job.get("memory_limit_bytes")
    was_killed = child.returncode < 0 and not line  # where a limit is tight, even an error may not fit into it
    if isinstance(limit, int) and (was_killed or OUT_OF_MEMORY.search(line)):
        raise InputError(f"{file}: does not open and run in {limit / MIB:g} MiB of memory, Python included")
    if child.returncode in (BenchError.exit_code, InputError.exit_code) and line.startswith("bench: "):
        raise InputError(line.removeprefix("bench: "))
    why = line or "no error message, maybe out of memory"
    raise InputError(f"{file}: the process that loads it ended with {child.returncode}: {why}")


def weigh(
    file: str,
    n_threads: int,
    batch_size: int,
    length: int,
    inputs: Mapping[str, InputFacts],
    inputs_file: str | None = None,
    seed: int = 0,
    memory_limit_bytes: int | None = None,
) -> Peak:
    """See how far memory rises above what Python and onnxruntime take when a file is opened and run."""
    if memory_limit_bytes:
        _limit_memory(memory_limit_bytes)
    _wake_up()
    path = Path(file)
    _read_through(path)
    before = _peak_bytes()
    session = sessions.open_session(path, n_threads)
    made = read_inputs(inputs, inputs_file, seed)
    feeds = made.at(session, batch_size, length)
    for _ in range(N_RUNS):
        sessions.run_once(session, feeds, path)
    after = _peak_bytes()
    return {"peak_memory_bytes": None if before is None or after is None else after - before}


def _open_ms(path: Path, n_threads: int) -> float:
    start = time.perf_counter()
    sessions.open_session(path, n_threads)
    return (time.perf_counter() - start) * 1e3


def size_bytes(file: Path, weights: Sequence[str] | None = None) -> int:
    """Count the bytes of a file and of its weights beside it; without their names, of what exporters call them."""
    usual = file.parent.glob(f"{glob.escape(file.name)}?data")
    beside = usual if weights is None else (file.parent / name for name in weights)
    return file.stat().st_size + sum(path.stat().st_size for path in beside)


def _limit_memory(n_bytes: int) -> None:
    """Hold this process to an amount of memory for data."""
    if sys.platform != "linux":
        raise InputError("--memory-limit: only Linux holds a process to it")
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (n_bytes if most == resource.RLIM_INFINITY else min(n_bytes, most), most))


def _wake_up() -> None:
    """Let onnxruntime and numpy take what their first use takes, which is no model's."""
    np.random.default_rng(0).standard_normal(1)
    session = ort.InferenceSession(IDENTITY, providers=["CPUExecutionProvider"])
    session.run(None, {"x": np.ones(1, np.float32)})


def _read_through(file: Path) -> None:
    with file.open("rb") as stream:
        while stream.read(CHUNK_BYTES):
            pass


def _peak_bytes() -> int | None:
    """Highest resident memory so far; Linux alone counts it from the start of the program, not of its parent."""
    if not STATUS.exists():
        return None
    match = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    return int(match[1]) * 1024 if match else None
