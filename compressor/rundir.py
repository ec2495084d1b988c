"""A run directory: the names of its files, its lock, the keys of its steps, and which of them are done."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compressor.errors import RunDirError
from compressor.files import explained, read_json, write_json

FORMAT = 2  # of the files in the folders of steps; part of every key, so that another format is not resumed
DONE = "done.json"
KEY = "key.json"  # the key under which a step's folder was written, finished or not
DIVERGED = "diverged.json"  # key of the rounds that are kept although retraining failed


class RunDir:
    """The folder of one run, locked for writing while it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.facts = path / "run.json"
        self.original = path / "original"
        self.bench_plan = path / "bench-plan.json"
        self.bench = path / "bench.json"
        self.bench_key = path / "bench-key.json"
        self.report = path / "report"

    def stage(self, index: int, name: str) -> Path:
        """Folder of a stage, numbered in recipe order."""
        return self.path / f"{index:02d}-{name}"

    def forget_bench(self) -> None:
        """Remove the measurements, since they are of other files; the key is removed first."""
        for file in (self.bench_key, self.bench_plan, self.bench):
            file.unlink(missing_ok=True)


@contextlib.contextmanager
def open_run(path: Path) -> Iterator[RunDir]:
    """Create the run directory if need be and hold its lock; a second process is refused."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not path.stat().st_mode & 0o222:  # root may write anyway, but someone removed the bits on purpose
            raise PermissionError(errno.EACCES, "it is read-only")
        lock = (path / "lock").open("a+")
    except OSError as error:
        raise RunDirError(f"{path}: cannot be written: {error.strerror}; choose another --run-dir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise RunDirError(f"{path}: in use by {holder}; wait for it, or choose another --run-dir") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}")
        lock.flush()
        yield RunDir(path)


def chain(previous: str, *parts: Any) -> str:
    """Key of a step: a hash of everything before it and of its own settings."""
    text = json.dumps([previous, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def facts_if_done(folder: Path, key: str) -> dict[str, Any] | None:
    """Return the facts of a finished step, if it was finished with this key."""
    done = read_json(folder / DONE)
    return done["facts"] if done is not None and done["key"] == key else None


def start(folder: Path, key: str, rounds_key: str = "") -> None:
    """Prepare a step's folder: keep the files of this key to resume from, and remove those of another key.

    Rounds are kept if retraining diverged after them and only the retraining options changed.
    """
    with explained(folder):
        if read_json(folder / KEY) != key and read_json(folder / DIVERGED) != rounds_key:
            remove(folder)
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / KEY, key)
    (folder / DIVERGED).unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove a step's folder; the mark is removed first, so that the rest never looks done after a crash."""
    (folder / DONE).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def finish(folder: Path, key: str, facts: dict[str, Any], **more: Any) -> None:
    """Mark a step as done; written last."""
    write_json(folder / DONE, {"key": key, **more, "facts": facts})
