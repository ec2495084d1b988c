"""Bundles: what lies in them, and that they run in a bare Python, over a real ssh, and under a command."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import venv
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_files import classifier

from compressor import cli
from compressor.bench.arrays import read_arrays
from compressor.measure import bundle

SSHD = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
SIZES = ["--batch-size", "1", "--batch-size", "3", "--length", "4", "--length", "7", "--seconds", "0.02"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two files under one name in two folders, one with its weights beside it; the folder is the current one."""
    monkeypatch.chdir(tmp_path)
    for folder in ("old", "new"):
        Path(folder).mkdir()
    classifier(Path("old/model.onnx"))
    classifier(Path("new/model.onnx"), save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    return ["old/model.onnx", "new/model.onnx"]


def compress(capsys, *arguments: str) -> tuple[int, dict, str]:
    """Run a command and give its exit code, what it answers as JSON, and what it says."""
    exit_code = cli.main([*arguments, "--json"])
    said = capsys.readouterr()
    return exit_code, json.loads(said.out), said.err


def test_a_bundle_holds_all_that_a_board_needs(files, capsys):
    exit_code, answer, _ = compress(capsys, "bundle", *files, *SIZES, "--out", "board")
    assert exit_code == 0
    plan = json.loads(Path("board/plan.json").read_text())
    assert plan == {key: value for key, value in answer.items() if key != "bundle"}
    assert (plan["opset"], plan["min_onnxruntime"]) == (17, "1.15")
    assert [each["file"] for each in plan["variants"]] == ["0/model.onnx", "1/model.onnx"]
    assert Path("board/1/model.onnx.data").read_bytes() == Path("new/model.onnx.data").read_bytes()
    with np.load("board/inputs.npz") as inputs:
        assert inputs["input_ids"].shape == (3, 7)
    with np.load("board/expected.npz") as expected:
        assert sorted(expected.files) == sorted(f"{i}/{n}x{m}/logits" for i in (0, 1) for n in (1, 3) for m in (4, 7))


def test_a_zip_archive_holds_the_same_and_is_replaced(files, capsys):
    for _ in range(2):
        assert cli.main(["bundle", *files, "--out", "board.zip"]) == 0
    assert "board.zip: 2 files, opset 17, onnxruntime 1.15 or newer" in capsys.readouterr().out
    with zipfile.ZipFile("board.zip") as archive:
        assert {"bench.pyz", "plan.json", "inputs.npz", "expected.npz", "0/model.onnx"} <= set(archive.namelist())
    assert not list(Path().glob(".bundle-*"))


@pytest.mark.parametrize("name", ["notes", "notes.zip"])
def test_what_is_no_bundle_is_not_replaced(files, capsys, name):
    if name == "notes":
        Path(name).mkdir()
    else:
        Path(name).write_text("mine")
    exit_code, answer, _ = compress(capsys, "bundle", *files, "--out", name)
    assert (exit_code, answer["error"]) == (
        8,
        f"{name}: exists and is not a bundle, or holds more than one; choose another --out",
    )
    assert Path(name).exists()


def test_a_bundle_in_which_anything_else_lies_is_not_replaced(files, capsys):
    """A zip archive that is unpacked where one works makes a bundle of that folder."""
    assert cli.main(["bundle", *files, "--out", "board"]) == 0
    assert cli.main(["bundle", *files, "--out", "board"]) == 0
    capsys.readouterr()
    Path("board/thesis.txt").write_text("mine")
    exit_code, _, _ = compress(capsys, "bundle", *files, "--out", "board")
    assert exit_code == 8
    assert Path("board/thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "exit_code", "complaint"),
    [
        ("board.tar.gz", 2, "board.tar.gz: of archives only .zip is written; give a folder or a .zip"),
        ("file/board.zip", 8, "file/board.zip: cannot be written: File exists; choose another --out"),
        ("/proc/board", 8, "/proc/board: cannot be written: No such file or directory; choose another --out"),
    ],
)
def test_places_for_no_bundle(files, capsys, name, exit_code, complaint):
    Path("file").touch()
    code, answer, _ = compress(capsys, "bundle", *files, "--out", name)
    assert (code, answer["error"]) == (exit_code, complaint)


def test_an_input_may_have_any_name(tmp_path):
    """Some are names of options of numpy's own writer."""
    arrays = {"file": np.ones((2, 3)), "allow_pickle": np.zeros(2, np.int64)}
    bundle._save(arrays, tmp_path / "in.npz")
    assert {name: array.tolist() for name, array in read_arrays(tmp_path / "in.npz").items()} == {
        name: array.tolist() for name, array in arrays.items()
    }


@pytest.mark.slow
def test_it_runs_where_there_is_only_numpy_and_onnxruntime(files, tmp_path):
    """In a fresh environment, with nothing of ours on the path and an empty environment."""
    assert cli.main(["bundle", *files, *SIZES, "--out", "board"]) == 0
    venv.create("fresh", with_pip=True)
    python = tmp_path / "fresh/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "numpy", "onnxruntime"], check=True)
    done = subprocess.run([python, "bench.pyz"], cwd="board", env={}, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result == json.loads(Path("board/bench.json").read_text())
    assert [each["output_difference"] for each in result["variants"]] == [0.0, 0.0]
    assert [len(each["bench"]) for each in result["variants"]] == [4, 4]

    found = subprocess.run([python, "-c", "import compressor"], env={}, capture_output=True, check=False)
    assert found.returncode == 1, "the environment is not fresh"


def test_a_python_without_onnxruntime_is_told_what_to_install(files, tmp_path):
    assert cli.main(["bundle", *files, "--out", "board"]) == 0
    venv.create("bare")
    python = tmp_path / "bare/bin/python"
    done = subprocess.run([python, "board/bench.pyz"], env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    version = sys.version.split()[0]
    assert done.stderr == (
        f"bench: needs Python 3.10 or newer with numpy and onnxruntime, this is {version}; "
        f"{python} -m pip install numpy onnxruntime\n"
    )


def test_an_old_onnxruntime_is_refused(files, capsys):
    assert cli.main(["bundle", *files, "--out", "board"]) == 0
    plan = json.loads(Path("board/plan.json").read_text())
    Path("board/plan.json").write_text(json.dumps(plan | {"min_onnxruntime": "9.1.2"}))
    done = subprocess.run([sys.executable, "board/bench.pyz"], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "is too old for opset 17" in done.stderr
    assert "'onnxruntime>=9.1.2'" in done.stderr


def test_other_answers_are_seen(files, capsys):
    assert cli.main(["bundle", *files, *SIZES, "--out", "board"]) == 0
    classifier(Path("board/0/model.onnx"), seed=1)
    done = subprocess.run([sys.executable, "board/bench.pyz"], capture_output=True, text=True, check=True)
    changed, kept = (each["output_difference"] for each in json.loads(done.stdout)["variants"])
    assert changed > 0.1
    assert kept == 0.0


def test_a_command_runs_the_bundle(files, capsys):
    command = f"command: {sys.executable} -I {{script}}"
    exit_code, result, said = compress(capsys, "bench", *files, *SIZES, "--on", command)
    assert exit_code == 0
    assert [(each["name"], each["file"]) for each in result["variants"]] == [
        (name, str(Path(name).resolve())) for name in files
    ]
    assert [each["output_difference"] for each in result["variants"]] == [0.0, 0.0]
    assert {"temperature_c", "governor", "cpu", "is_emulated"} <= set(result["environment"])
    assert "p50" in said


@pytest.mark.parametrize(
    ("place", "exit_code", "error"),
    [
        ("board", 2, "--on board: should be ssh://user@host[:port], or 'command: ... {script}'"),
        ("command: python3", 2, "--on command: python3: should be ssh://"),
        ("ssh://", 2, "--on ssh://: should be ssh://"),
        ("command: no-such-emulator {script}", 3, "--on command: no-such-emulator: cannot be started: No such file"),
        ("command: false {script}", 3, "--on command: false: ended with 1: no error message"),
        ("command: true {script}", 3, "--on command: true: gave no result; does it run {script}?"),
        ("command: echo {script}", 3, "--on command: echo: gave no result; does it run {script}?"),
        ("command: 'python3 {script}", 2, "--on command: 'python3 {script}: No closing quotation"),
        ("ssh://board:abc", 2, "--on ssh://board:abc: Port could not be cast to integer value as 'abc'"),
    ],
)
def test_places_that_are_none(files, capsys, place, exit_code, error):
    code, answer, _ = compress(capsys, "bench", *files, "--on", place)
    assert (code, answer["exit_code"]) == (exit_code, exit_code)
    assert answer["error"].startswith(error)


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def ssh(tmp_path):
    """Start an ssh server for this user alone; give its port and the command that gets in."""
    if not SSHD:
        pytest.skip("sshd is not installed")
    for name in ("host", "mine"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    (tmp_path / "known").write_text((tmp_path / "mine.pub").read_text())
    (tmp_path / "known").chmod(0o600)
    port = free_port()
    options = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": tmp_path / "host", "PidFile": "none", "UsePAM": "no",
        "AuthorizedKeysFile": tmp_path / "known", "StrictModes": "no", "PermitRootLogin": "yes",
    }  # fmt: skip
    (tmp_path / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in options.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd of root goes to have no rights
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=subprocess.PIPE, text=True)
    stderr: Any = server.stderr
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
    try:
        for _ in range(50):
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, stderr.read()
            time.sleep(0.1)
        yield port, f"ssh -F none -i {tmp_path / 'mine'} -o UserKnownHostsFile={known_hosts}"
    finally:
        server.terminate()
        server.wait()
        stderr.close()


def test_a_run_on_another_host(files, capsys, ssh):
    port, command = ssh
    place = ["--on", f"ssh://127.0.0.1:{port}", "--ssh", command, "--python", sys.executable]
    exit_code, result, said = compress(capsys, "bench", *files, *SIZES, *place)
    assert exit_code == 0, said
    assert [each["output_difference"] for each in result["variants"]] == [0.0, 0.0]
    assert [len(each["bench"]) for each in result["variants"]] == [4, 4]
    assert result["environment"]["versions"]["onnxruntime"]


def test_a_run_that_is_interrupted_stops_there_too(files, ssh, tmp_path):
    """Else the board would go on measuring, and the next run beside it."""
    port, command = ssh
    marked = tmp_path / "marked-python"
    marked.write_text(f'#!/bin/sh\nexec {sys.executable} "$@" plan.json {tmp_path}/mark\n')
    marked.chmod(0o755)
    arguments = ["bench", *files, "--seconds", "60", "--on", f"ssh://127.0.0.1:{port}", "--ssh", command]
    ours = subprocess.Popen([sys.executable, "-m", "compressor.cli", *arguments, "--python", str(marked)], cwd=tmp_path)
    assert wait_until(lambda: is_running(f"{tmp_path}/mark")), "it never began there"
    ours.send_signal(signal.SIGINT)
    assert ours.wait() == 130
    assert wait_until(lambda: not is_running(f"{tmp_path}/mark")), "it goes on there"


def is_running(mark: str) -> bool:
    """Tell whether a bench runs that has a mark among its arguments."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if {mark.encode(), b"bench.pyz"} <= set(path.read_bytes().split(b"\0")):
                return True
    return False


def wait_until(is_so, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_a_host_without_onnxruntime(files, capsys, ssh, tmp_path):
    port, command = ssh
    venv.create("bare")
    place = ["--on", f"ssh://127.0.0.1:{port}", "--ssh", command, "--python", str(tmp_path / "bare/bin/python")]
    exit_code, answer, _ = compress(capsys, "bench", *files, *place)
    assert exit_code == 3
    assert answer["error"].startswith(f"--on ssh://127.0.0.1:{port}: needs Python 3.10 or newer with numpy and onnxru")


def test_a_host_that_has_no_such_python(files, capsys, ssh):
    port, command = ssh
    place = ["--on", f"ssh://127.0.0.1:{port}", "--ssh", command, "--python", "no-such-python"]
    exit_code, answer, _ = compress(capsys, "bench", *files, *place)
    assert exit_code == 3
    assert "ended with 127" in answer["error"]
    assert "not found" in answer["error"]
    assert answer["error"].endswith("; name its Python with --python")


def test_a_host_that_lets_nobody_in(files, capsys, ssh, tmp_path):
    port, command = ssh
    (tmp_path / "known").write_text("")
    exit_code, answer, _ = compress(capsys, "bench", *files, "--on", f"ssh://127.0.0.1:{port}", "--ssh", command)
    assert exit_code == 3
    assert "ended with 255" in answer["error"]
    assert "Permission denied" in answer["error"]


def test_a_host_that_cannot_be_reached(files, capsys):
    exit_code, answer, said = compress(capsys, "bench", *files, "--on", f"ssh://127.0.0.1:{free_port()}")
    assert exit_code == 3
    assert "Connection refused" in answer["error"]
    assert said.count("\n") <= 4, "an unreachable host is a line, not a traceback"


def test_an_ssh_that_is_not_there(files, capsys):
    exit_code, answer, _ = compress(capsys, "bench", *files, "--on", "ssh://board", "--ssh", "no-such-ssh")
    assert (exit_code, answer["error"]) == (3, "--on ssh://board: cannot be started: No such file or directory")
