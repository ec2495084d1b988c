"""The files of a run: what lasts of them, and three ways to spoil one."""

import re
from pathlib import Path
from typing import Any

from compressor.files import read_sealed

OF_THE_CLOCK = ("run.json", "report.json", "index.html", "README.md")  # they hold dates and durations
NUMBER = re.compile(rb"(?:[0-9][0-9.,]*(?: (?:h|min|s)\b)? ?)+")  # 1 min 5 s may be 58.3 s in another run
WAYS = ("cut", "bit", "removed")


def present(run):
    """List the files of a run that can be spoiled; the lock may be empty."""
    return sorted(file for file in run.rglob("*") if file.is_file() and (file.stat().st_size or file.name == "lock"))


def spoil(file, way):
    """Cut a file in half, flip a bit in its middle, or remove it."""
    content = file.read_bytes()
    middle = len(content) // 2
    if way == "removed":
        file.unlink()
    elif way == "cut":
        file.write_bytes(content[:middle])
    else:
        file.write_bytes(content[:middle] + bytes(byte ^ 1 for byte in content[middle:][:1]) + content[middle + 1 :])


def contents(run):
    """Give every file of a run as two runs of one recipe must have it: without times, which differ from run to run."""
    found: dict[Path, Any] = {}
    for file in run.rglob("*"):
        if file.name == "done.json":
            done = read_sealed(file)  # the seal covers the seconds, so it is checked here and not compared
            assert done is not None, file
            found[file.relative_to(run)] = done | {"seconds": None}
        elif file.is_file() and file.name != "lock":
            content = file.read_bytes()
            found[file.relative_to(run)] = NUMBER.sub(b"", content) if file.name in OF_THE_CLOCK else content
    return found


def unlike(run, expected):
    """Name the files that only one of two runs has, or that differ, after `contents` of the other."""
    found = contents(run)
    return sorted(str(name) for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
