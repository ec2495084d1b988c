"""Run one spoiled input in a process of its own, and judge what came of it."""

import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from . import sound

LIMIT_S = 60
LIMIT_BYTES = 2 * 10**9
GUARD_BYTES = 6 * 2**30  # of data: keeps a runaway input from taking the machine down before it is judged
GUARD_FILE_BYTES = 2**30
MEANT = (0, 2, 3, 4, 5, 6, 7, 8)  # exit codes for which nobody needs to read our code
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")

PRELOADED = (
    *("datasets.packaged_modules.csv.csv", "onnxruntime", "sklearn.datasets", "transformers.models.bert.modeling_bert"),
    *("transformers.models.bert.tokenization_bert", "transformers.models.vit.modeling_vit", "compressor.cli"),
    *("compressor.measure.gate", "compressor.model.inventory", "compressor.pipeline.engine", "compressor.report.text"),
)

Spoil = Callable[[Random], list[str]]
"""Spoils something in the current folder, a copy of the sound inputs, and gives the arguments of `compress`."""


@dataclass(frozen=True)
class Outcome:
    """What one input did."""

    kind: str
    seed: int
    exit_code: int
    """Of the command; minus the signal that ended it."""
    seconds: float
    peak_bytes: int
    arguments: list[str]
    faults: list[str]
    """What is wrong; empty if all is well."""
    said: str
    """Last line on stderr."""


@dataclass(frozen=True)
class Bench:
    """Where inputs are tried: the sound ones, and the folder in which each gets a copy."""

    sound: Path
    scratch: Path


def prepare(folder: Path) -> Bench:
    """Make the sound inputs in a process of its own, so that this one has no threads when it forks."""
    bench = Bench(folder / "sound", folder / "tries")
    for path in (bench.sound, bench.scratch):
        path.mkdir(parents=True)
    _import_all()
    child = os.fork()
    if not child:
        _end(lambda: sound.make(bench.sound), folder / "sound.out", folder / "sound.err")
    if os.waitpid(child, 0)[1]:
        raise RuntimeError((folder / "sound.err").read_text())
    return bench


def attempt(bench: Bench, kind: str, spoil: Spoil, seed: int) -> Outcome:
    """Spoil, run and judge one input."""
    place = bench.scratch / f"{kind}-{seed}"
    place.mkdir()
    began = time.monotonic()
    child = os.fork()
    if not child:
        os.setsid()
        _end(lambda: _try(bench.sound, place, spoil, Random(f"{kind} {seed}")), place / "out", place / "err")
    status, used = _wait(child, began + LIMIT_S)
    seconds = time.monotonic() - began
    code, peak = os.waitstatus_to_exitcode(status), used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    faults = list(_faults(place, code, peak, seconds))
    said = (place / "err").read_text(errors="replace").strip().splitlines()
    notes = json.loads((place / "notes").read_text()) if (place / "notes").exists() else {"arguments": []}
    if not faults:
        shutil.rmtree(place)
    return Outcome(kind, seed, code, seconds, peak, notes["arguments"], faults, (said or [""])[-1])


def _import_all() -> None:
    """Import now what every child would import."""
    for name in PRELOADED:
        importlib.import_module(name)


def _end(work: Callable[[], int], out: Path, err: Path) -> None:
    """Do the work of a forked process with its streams in files, and leave without what the parent would do."""
    code = 99
    try:
        for stream, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", errors="backslashreplace")
        code = work()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _try(sound_home: Path, place: Path, spoil: Spoil, rng: Random) -> int:
    """Copy the sound inputs, spoil one, run the command, and note what it wrote elsewhere."""
    from compressor import cli

    home, temporary = place / "home", place / "tmp"
    shutil.copytree(sound_home, home, symlinks=True)
    temporary.mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    os.chdir(home)
    arguments = spoil(rng)
    (place / "notes").write_text(json.dumps({"arguments": arguments, "outside": []}))
    sound.measure_briefly()
    resource.setrlimit(resource.RLIMIT_DATA, (GUARD_BYTES, GUARD_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (GUARD_FILE_BYTES, GUARD_FILE_BYTES))
    outside: list[str] = []
    before = set(_listed(home))
    own = (home / "run", home / "out", home / ".bundle-", temporary, Path(os.environ["HF_HOME"]))
    _watch(outside, [str(each.resolve()) for each in own])
    code = cli.main(arguments)
    outside += sorted(f"{file} was changed" for file, *_ in before ^ set(_listed(home)))
    (place / "notes").write_text(json.dumps({"arguments": arguments, "outside": outside}))
    return code


def _listed(home: Path) -> Iterator[tuple[str, int, int]]:
    """Name the files outside the run, with size and time."""
    for root, folders, files in os.walk(home):
        folders[:] = [name for name in folders if Path(root) != home or name not in ("run", "out")]
        for name in files:
            facts = os.lstat(Path(root) / name)
            yield str(Path(root) / name), facts.st_size, facts.st_mtime_ns


def _watch(outside: list[str], allowed: Sequence[str]) -> None:
    """Note each file that Python opens for writing, makes, moves or removes in other places."""

    def see(event: str, details: tuple[object, ...]) -> None:
        path = details[0] if details else None
        writes = event in CHANGES or (event == "open" and isinstance(details[2], int) and details[2] & WRITES)
        is_whole = event in ("open", "os.truncate") or -1 in details[1:]  # else it is a name in a folder that is open
        if writes and is_whole and isinstance(path, str | os.PathLike):
            place = os.path.realpath(path)
            is_there = event == "os.mkdir" and Path(place).is_dir()  # `mkdir(exist_ok=True)` asks for it all the same
            if not is_there and not place.startswith(("/dev/", "/proc/", *allowed)):
                outside.append(f"{event} {place}")

    sys.addaudithook(see)


def _wait(child: int, until: float) -> tuple[int, resource.struct_rusage]:
    """Wait for a process, and end it and its children when its time is over."""
    while time.monotonic() < until:
        found, status, used = os.wait4(child, os.WNOHANG)
        if found:
            return status, used
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    return status, used


def _faults(place: Path, code: int, peak: int, seconds: float) -> Iterator[str]:
    out, err = ((place / name).read_text(errors="replace") for name in ("out", "err"))
    last = (err.strip().splitlines() or ["nothing on stderr"])[-1]
    if seconds > LIMIT_S:
        yield f"ran for more than {LIMIT_S} s"
    elif code not in MEANT:
        yield f"exit code {code}: {last}"
    elif code and not last.startswith("compress: "):
        yield f"exit code {code} without a reason: {last}"
    if "Traceback (most recent call last)" in err:
        yield "a traceback on stderr"
    if peak > LIMIT_BYTES:
        yield f"took {peak / 1e9:.1f} GB of memory"
    if code in MEANT and seconds <= LIMIT_S:
        yield from json.loads((place / "notes").read_text())["outside"]
        if not _is_one_line_of_json(out):
            yield f"no single line of JSON on stdout: {out[:80]!r}"


def _is_one_line_of_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return text.count("\n") == 1
