"""Temporary folders that do not outlive a killed process: the next start removes them.

A folder holds a locked file. The system releases the lock when the last process that has it ends, however it ends, so a
folder whose lock is free belongs to no one any more.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "compress-"
FILES, LOCK = "files", "lock"
MARK = b"a temporary folder of compressor\n"  # content of the lock: other programs may use the name


@dataclass(frozen=True)
class Temporary:
    """A temporary folder, and the lock that keeps it."""

    path: Path
    lock: int
    """Descriptor to pass to a process that works in the folder, so that it stays until that process ends too."""


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None, prefix: str = PREFIX) -> Iterator[Temporary]:
    """Make an empty folder and remove it at the end of the block; those of killed processes are removed first.

    Parameters
    ----------
    parent : Path, optional
        Where it lies; by default the system's folder for temporary files.
    prefix : str
        Begins its name.
    """
    parent = parent or Path(tempfile.gettempdir())
    remove_left(parent, prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as name:
        home = Path(name)
        (home / FILES).mkdir()
        beside = home / f".{LOCK}"
        beside.write_bytes(MARK)
        with beside.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            beside.rename(home / LOCK)  # only now: a lock that others see is held
            yield Temporary(home / FILES, stream.fileno())


def remove_left(parent: Path | None = None, prefix: str = PREFIX) -> None:
    """Remove the temporary folders of processes that were killed, and no others."""
    for lock in (parent or Path(tempfile.gettempdir())).glob(f"{prefix}*/{LOCK}"):
        if _is_left(lock):
            shutil.rmtree(lock.parent, ignore_errors=True)  # another process may be removing it as well


def _is_left(lock: Path) -> bool:
    """Whether a folder is ours, and no process holds its lock."""
    try:
        if lock.parent.is_symlink() or lock.is_symlink() or not lock.is_file() or lock.stat().st_uid != os.getuid():
            return False
        with lock.open("rb") as stream:
            if stream.read(len(MARK) + 1) != MARK:
                return False
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:  # the lock is held, or was removed in this moment
        return False
