"""The processes of a bench: they end with ours, say why they were killed, and cannot fill our memory."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench_files import write_plan

from compressor.errors import InputError
from compressor.measure import bounded, launch, remote

# What a bench's parent does, with a plan that takes minutes.
PARENT = """
import json, sys
from pathlib import Path
from compressor.measure import launch
plan = json.loads(Path(sys.argv[1]).read_text())
folder = Path(sys.argv[1]).parent
for variant in plan["variants"]:
    variant["file"] = str(folder / variant["file"])
launch.measure({**plan, "seconds": 100.0})
"""


def children(pid: int) -> list[int]:
    """Give the processes that a process started, and theirs."""
    try:
        own = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [*own, *(below for child in own for below in children(child))]


def is_running(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def eventually(is_so: object, seconds: float) -> bool:
    assert callable(is_so)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if is_so():
            return True
        time.sleep(0.05)
    return bool(is_so())


@pytest.fixture
def parent(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    plan = write_plan(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", PARENT, str(plan)], stderr=subprocess.PIPE)
    yield child
    child.kill()
    child.wait()
    if child.stderr is not None:
        child.stderr.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_bench_ends_with_a_parent_that_was_killed(parent):
    assert eventually(lambda: children(parent.pid), 60)
    time.sleep(3)  # until it measures, or loads a file in a process of its own
    started = children(parent.pid)
    assert started
    parent.kill()
    assert eventually(lambda: not any(map(is_running, started)), 10)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_bench_that_was_killed_names_memory(parent):
    assert eventually(lambda: children(parent.pid), 60)
    os.kill(children(parent.pid)[0], signal.SIGKILL)
    _, said = parent.communicate()
    assert b"InputError: bench: killed, as systems do when memory runs out; free some" in said


@pytest.mark.parametrize("code", [-signal.SIGKILL, 137])
def test_a_command_that_was_killed_names_memory(code):
    assert isinstance(launch.failure(code, ""), InputError)
    assert "memory runs out" in str(launch.failure(code, "measuring"))


def on(program: str) -> None:
    remote.measure(f"command: {sys.executable} -c {shlex.quote(program)} {remote.SCRIPT}", Path("folder"))


@pytest.mark.parametrize(
    ("stream", "said"), [("stdout", "answered more than 1 MiB"), ("stderr", "wrote more than 1 MiB")]
)
@pytest.mark.parametrize("text", ["'x' * 65536", "'line' + chr(10)"])
def test_a_command_without_end_is_ended(monkeypatch, stream, said, text):
    monkeypatch.setattr(bounded, "MOST_ANSWER_BYTES", 2**20)
    monkeypatch.setattr(bounded, "MOST_SAID_BYTES", 2**20)
    monkeypatch.setattr(launch, "say", lambda line: None)
    with pytest.raises(InputError, match=f"^--on command: .*: {said}"):
        on(f"import sys\nwhile 1: sys.{stream}.write({text})")


def test_a_short_answer_is_read_whole():
    found = remote.measure(f"command: {sys.executable} -c 'print(1); print([2, 3])' {remote.SCRIPT}", Path("folder"))
    assert found == [2, 3]
