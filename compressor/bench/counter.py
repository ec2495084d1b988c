"""Instructions of one inference, counted by valgrind: nearly the same each time, however busy the host is."""

import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import sessions
from .errors import InputError
from .inputs import read_inputs
from .result import InputFacts
from .shape import Shape

CALLGRIND = "callgrind"
N_WARM_UPS = 2  # the first runs plan and reserve memory
N_COUNTED = 5  # malloc and Python add a few thousand now and then, which the least of several leaves out
MARK = "getpgid"  # a call that nothing else makes; callgrind writes and resets its counts when it is entered
KEPT = ("HOME", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH")  # what Python needs to find its packages
FIXED = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",  # a thread of onnxruntime 1.31 that looks for its maker's server, counted with ours
}

Size = tuple[int, int | None]  # batch size, and the length where one is free


def find_valgrind() -> str:
    """Give the place of valgrind; asked before anything is measured."""
    program = shutil.which("valgrind")
    if not program:
        raise InputError("--counter callgrind: valgrind is not installed; apt-get install valgrind")
    return program


def count(
    file: Path, name: str, sizes: Sequence[Size], say: Callable[[str], None], **inputs: object
) -> dict[Size, int]:
    """Count the instructions of one warm inference at each size, on one thread.

    Parameters
    ----------
    file : Path
        ONNX file.
    name : str
        What the lines of progress call it.
    sizes : sequence of (batch size, length or None)
        Each is counted in a process of its own, so that no count depends on the others.
    say : callable
        Takes a line of progress for each of them.
    **inputs
        ``inputs``, ``inputs_file`` and ``seed``, as in a plan; the file's name is absolute.

    Returns
    -------
    dict from size to int
        The least of `N_COUNTED` inferences: instructions of the process; those of the kernel are not seen.

    Raises
    ------
    InputError
        If valgrind is missing or fails, or the file cannot be run.
    """
    counts = {}
    for batch_size, length in sizes:
        say(f"counting instructions of {name} at {Shape(batch_size, length).name}, slow under valgrind")
        job = {"file": str(file.absolute()), "batch_size": batch_size, "length": length, **inputs}
        counts[batch_size, length] = _count(file, job)
    return counts


def _count(file: Path, job: Mapping[str, object]) -> int:
    program = [sys.executable, str(Path(__file__).absolute().parent), "--count", json.dumps(job)]
    with tempfile.TemporaryDirectory(prefix="count-") as folder:
        out = Path(folder, "out")
        flags = [f"--tool={CALLGRIND}", "-q", f"--dump-before={MARK}", "--dump-line=no", f"--callgrind-out-file={out}"]
        child = subprocess.run(
            [find_valgrind(), *flags, *program],
            env={name: os.environ[name] for name in KEPT if name in os.environ} | FIXED,
            capture_output=True,
            text=True,
            check=False,
        )
        _refuse(child, file)
        return least(totals(out), file)


def run_marked(
    file: str, batch_size: int, length: int | None, inputs: Mapping[str, InputFacts], inputs_file: str | None, seed: int
) -> dict[str, int]:
    """Be the process that is counted: mark the beginning of each inference, and the end of the last one."""
    gc.disable()
    path = Path(file)
    session = sessions.open_session(path, n_threads=1)
    made = read_inputs(inputs, inputs_file, seed)
    feeds = made.at(session, batch_size, length)
    for _ in range(N_WARM_UPS):
        sessions.run_once(session, feeds, path)
    for _ in range(N_COUNTED):
        os.getpgid(0)
        session.run(None, feeds)
    os.getpgid(0)
    return {"n_counted": N_COUNTED}


def totals(out: Path) -> list[int]:
    """Read what was counted before each mark and since the one before it; it lies in files OUT.1, OUT.2 and so on."""
    dumps = sorted((int(path.suffix[1:]), path) for path in out.parent.glob(f"{out.name}.*"))
    matches = (re.search(r"^totals: (\d+)$", path.read_text(encoding="utf-8"), re.MULTILINE) for _, path in dumps)
    return [int(total[1]) for total in matches if total]


def least(counts: Sequence[int], file: Path) -> int:
    """Take the least of the inferences: what was counted before the first mark and after the last one is none."""
    n_marks = N_COUNTED + 1
    if len(counts) < n_marks:
        raise InputError(f"{file}: valgrind saw {len(counts)} of {n_marks} marks; leave out --counter")
    return min(counts[1:n_marks])


def _refuse(child: subprocess.CompletedProcess[str], file: Path) -> None:
    """Say in one line why nothing was counted."""
    if not child.returncode:
        return
    last = (child.stderr.strip().splitlines() or ["no error message"])[-1]
    if last.startswith("bench: "):
        raise InputError(last.removeprefix("bench: "))
    said = re.sub(r"^(==\d+==|valgrind:)\s*", "", last)
    raise InputError(f"{file}: valgrind ended with {child.returncode}: {said}; leave out --counter")
