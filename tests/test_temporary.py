"""Temporary folders of killed processes go at the next start, and nothing else does."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compressor.temporary import MARK, remove_left, temporary_folder

HOLD = """
import pathlib, subprocess, sys
from compressor.temporary import temporary_folder
with temporary_folder(pathlib.Path(sys.argv[1])) as home:
    (home.path / "plan.json").write_text("{}")
    sleep = [sys.executable, "-c", "import sys; print('ready', flush=True); sys.stdin.read()"]
    child = subprocess.Popen(sleep, pass_fds=(home.lock,)) if sys.argv[2] == "child" else None
    child or print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path):
    """Start processes that hold a temporary folder until the end of their stdin."""
    started = []

    def hold(what="alone"):
        command = [sys.executable, "-c", HOLD, str(tmp_path), what]
        process: Any = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def killed(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def folders(tmp_path):
    return sorted(each.name for each in tmp_path.iterdir())


def test_the_folder_of_a_killed_process_is_removed(tmp_path, start):
    killed(start())
    [left] = folders(tmp_path)
    assert (tmp_path / left / "files/plan.json").exists()
    with temporary_folder(tmp_path) as home:
        assert folders(tmp_path) == [home.path.parent.name] != [left]
    assert folders(tmp_path) == []


def test_the_folder_of_a_living_process_stays(tmp_path, start):
    start()
    before = folders(tmp_path)
    remove_left(tmp_path)
    assert folders(tmp_path) == before
    assert len(before) == 1


def test_the_folder_stays_while_a_child_works_in_it(tmp_path, start):
    process = start("child")
    killed(process)
    before = folders(tmp_path)
    remove_left(tmp_path)
    assert folders(tmp_path) == before
    process.stdin.close()  # ends the child
    assert process.stdout.read() == ""  # it has ended: its end of the pipe is closed
    remove_left(tmp_path)
    assert folders(tmp_path) == []


def test_what_others_wrote_stays(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    for name, content in (("compress-mine", b"mine"), ("compress-none", None), ("other", MARK), ("elsewhere", MARK)):
        (tmp_path / name).mkdir()
        if content is not None:
            (tmp_path / name / "lock").write_bytes(content)
    (tmp_path / "compress-link").symlink_to(elsewhere)
    (tmp_path / "compress-linked").mkdir()
    (tmp_path / "compress-linked/lock").symlink_to(elsewhere / "lock")
    (tmp_path / "compress-pipe").mkdir()
    os.mkfifo(tmp_path / "compress-pipe/lock")
    (tmp_path / "compress-file").write_text("a file")
    before = sorted(Path(folder, name) for folder, *names in os.walk(tmp_path) for each in names for name in each)
    remove_left(tmp_path)
    assert (
        sorted(Path(folder, name) for folder, *names in os.walk(tmp_path) for each in names for name in each) == before
    )
    (tmp_path / "compress-mine/lock").write_bytes(MARK)
    remove_left(tmp_path)
    assert not (tmp_path / "compress-mine").exists()
