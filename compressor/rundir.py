"""A run directory: the names of its files, its lock, the keys of its steps, and which of them are done."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor import owned
from compressor.errors import RunDirError
from compressor.files import (
    explained,
    file_digest,
    is_intact,
    read_sealed,
    readable_json,
    sync,
    write_json,
    write_sealed,
)
from compressor.progress import say

FORMAT = 3  # of what steps leave in their folders; part of every key, so that another format is not resumed
DONE = "done.json"
KEY = "key.json"  # of what a step's folder holds, finished or not
CARD = "README.md"  # written again at the end of each run
DIVERGED = "diverged.json"  # key of the rounds that are kept although retraining failed


class RunDir:
    """The folder of one run, and the right to write in it while it is open."""

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

    def is_measured(self, key: str) -> bool:
        """Whether the files of this key were measured, and what was found is as it was written."""
        found = read_sealed(self.bench_key)
        if found is None or found["key"] != key:
            return False
        changed = _changed(self.path, found["files"])
        if changed:
            say(f"{'bench':<24} {changed!r} is missing or not as it was written, measuring again")
        return changed is None

    def mark_measured(self, key: str) -> None:
        """Note for which files the measurements are; written last."""
        files = {file.name: file_digest(file) for file in (self.bench_plan, self.bench)}
        write_sealed(self.bench_key, {"key": key, "files": files})

    def forget_bench(self) -> None:
        """Remove what was measured, for it tells of other files; the key goes first."""
        for file in (self.bench_key, self.bench_plan, self.bench):
            file.unlink(missing_ok=True)


@contextlib.contextmanager
def open_run(path: Path) -> Iterator[RunDir]:
    """Create the run directory if need be and hold its lock.

    A second process is refused, and so is a folder with files that no run wrote. What a run that was killed left half
    written is removed.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        owned.require_ours(path)
        if not path.stat().st_mode & 0o222:  # root may write anyway, but somebody took the bits away on purpose
            raise PermissionError(errno.EACCES, "it is read-only")
        lock = (path / owned.LOCK).open("a+")
    except OSError as error:
        raise RunDirError(f"{path}: no run can be written there: {error.strerror}; choose another --run-dir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise RunDirError(f"{path}: in use by {holder}; wait for it, or choose another --run-dir") from None
        lock.truncate(0)
        lock.write(f"{owned.HOLDER}{os.getpid()}")
        lock.flush()
        home = RunDir(path)
        try:
            with explained(path):
                owned.clean(path)
            yield home
        except BaseException:
            if not home.facts.exists():
                lock.truncate(0)  # it ended before it wrote anything: the lock is no mark of a run then
            raise


def chain(previous: str, *parts: Any) -> str:
    """Key of a step: a hash of everything before it and of its own settings."""
    text = json.dumps([previous, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def facts_if_done(folder: Path, key: str, label: str) -> dict[str, Any] | None:
    """Return the facts of a finished step, if it was finished under this very key and its files are as it left them."""
    if not (folder / DONE).exists():
        return None
    done = read_sealed(folder / DONE)
    if done is None:
        say(f"{label:<24} {DONE!r} is damaged, running again")
    elif done["key"] != key:
        say(f"{label:<24} settings changed, running again")
    elif changed := _changed(folder, done["files"]):
        say(f"{label:<24} {changed!r} is missing or not as it was written, running again")
    else:
        if readable_json(folder / KEY) != key:
            write_json(folder / KEY, key)
        return dict(done["facts"])
    return None


def start(folder: Path, key: str, rounds_key: str = "") -> None:
    """Prepare a step's folder: what this key left unfinished is resumed, anything else that a run wrote goes.

    Rounds stay if retraining diverged after them and the step is now to retrain in another way.
    """
    with explained(folder):
        is_resumed = readable_json(folder / KEY) == key or readable_json(folder / DIVERGED) == rounds_key
        if (folder / DONE).exists() or not is_resumed:
            remove(folder)
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / KEY, key)
    (folder / DIVERGED).unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove what a step wrote, and its folder if nothing else is in it.

    The mark goes first, so that what a crash leaves never looks done.
    """
    (folder / DONE).unlink(missing_ok=True)
    for file in owned.stage_files(folder):
        file.unlink()
    for home in (folder / owned.MODEL_FOLDER, folder):
        if home.is_dir() and not any(home.iterdir()):
            home.rmdir()


def finish(folder: Path, key: str, facts: Mapping[str, Any], temporary: Sequence[str] = (), **more: Any) -> None:
    """Mark a step as done, with the digests of its files; written last, when all of them are on the disk.

    ``temporary`` are patterns of files in the folder itself that a finished step does not need.
    """
    with explained(folder):
        files = {str(file.relative_to(folder)): _settled(file) for file in _lasting(folder, temporary)}
        for home in {(folder / name).parent for name in files}:
            sync(home)
    write_sealed(folder / DONE, {"key": key, **more, "facts": facts, "files": files})


def note(folder: Path, facts: Mapping[str, Any]) -> None:
    """Replace the facts of a finished step."""
    done = read_sealed(folder / DONE)
    if done is not None and done["facts"] != facts:
        write_sealed(folder / DONE, {**done, "facts": facts})


def _lasting(folder: Path, temporary: Sequence[str]) -> Iterator[Path]:
    for file in owned.stage_files(folder):
        is_temporary = file.parent == folder and any(map(file.match, temporary))
        if file.is_file() and not is_temporary and file.name not in (*owned.MARKS, CARD):
            yield file


def _settled(file: Path) -> str:
    sync(file)
    return file_digest(file)


def _changed(folder: Path, files: Mapping[str, str]) -> str | None:
    """Name the first file that is not as its step left it."""
    return next((name for name, digest in files.items() if not is_intact(folder / name, digest)), None)
