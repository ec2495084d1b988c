"""Any ONNX file is measured at lengths and with ids that it can read; what cannot be measured is one line."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_files import N_WORDS, classifier, write

from compressor import cli
from compressor.errors import RecipeError
from compressor.measure.plan import plan as plan_of

POSITIONS = """
    g (int64[batch, length] input_ids) => (float[batch, width] logits) {
        h = Gather (words, input_ids) s = Shape <start = 1, end = 2> (input_ids) n = Squeeze (s)
        i = Range (nought, n, unit) p = Gather (places, i) a = Add (h, p) logits = ReduceMax <keepdims = 0> (a, axis)
    }"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def reader(n_positions: int) -> Path:
    """Write a file that reads texts of so many tokens at most."""
    tables = {"words": np.ones((N_WORDS, 2), np.float32), "places": np.ones((n_positions, 2), np.float32)}
    numbers = {"nought": np.int64(0), "unit": np.int64(1), "axis": np.array([1])}
    return write(Path("reader.onnx"), POSITIONS, tables | numbers)


@pytest.mark.parametrize(("n_positions", "lengths"), [(512, [32, 128]), (40, [32]), (20, [20])])
def test_the_default_lengths_stop_where_the_file_does(n_positions, lengths):
    plan = plan_of([reader(n_positions)], {})
    assert plan["lengths"] == lengths
    assert plan["inputs"] == {"input_ids": {"below": N_WORDS}}
    assert set(plan["variants"][0]["n_flops"]) == {f"1x{length}" for length in lengths}


def test_a_length_that_is_asked_for_and_cannot_be_read():
    with pytest.raises(RecipeError, match="--length 41: the files read at most 40"):
        plan_of([reader(40)], {"lengths": [8, 41]})


def test_sequences_of_a_file_are_taken_in_their_length():
    np.savez("in.npz", input_ids=np.ones((3, 7), np.int64))
    assert plan_of([reader(40)], {"inputs_file": "in.npz"})["lengths"] == [7]
    assert plan_of([reader(40)], {"inputs_file": "in.npz", "lengths": [5]})["lengths"] == [5]


def test_a_fixed_batch_is_the_default():
    proto = onnx.load(reader(40))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    onnx.save(proto, "fixed.onnx")
    assert plan_of([Path("fixed.onnx")], {})["batch_sizes"] == [3]
    assert plan_of([Path("fixed.onnx")], {"batch_sizes": [1]})["batch_sizes"] == [1]
    assert plan_of([reader(40)], {})["batch_sizes"] == [1]


def test_a_file_that_is_given_twice():
    with pytest.raises(RecipeError, match=r"reader.onnx: given twice; compress gate reader.onnx --self-test measures"):
        plan_of([reader(40)] * 2, {})


def external(place: str) -> None:
    """Write a file whose weights lie elsewhere."""
    proto = onnx.load(classifier(Path("model.onnx")))
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=place)
    Path("model.onnx").write_bytes(proto.SerializeToString())


def ragged() -> None:
    np.savez("in.npz", input_ids=np.array([[1, 2], [3]], object))


BAD = {
    "corrupt": (lambda: Path("model.onnx").write_bytes(b"no model"), [], 3, "model.onnx: not a readable ONNX file"),
    "empty": (lambda: Path("model.onnx").write_bytes(b""), [], 3, "model.onnx: not an ONNX file"),
    "no weights": (lambda: external("gone"), [], 3, "model.onnx: its weights are missing, 'gone' should be next to it"),
    "outside": (lambda: external("../w"), [], 3, "model.onnx: its weights should be next to it, got '../w'"),
    "absolute": (lambda: external("/etc/w"), [], 3, "model.onnx: its weights should be next to it, got '/etc/w'"),
    "no inputs": (lambda: None, ["--inputs", "no.npz"], 3, "no.npz: not a readable .npz file of arrays: no such file"),
    "no meter": (lambda: None, ["--meter", "pmic"], 3, "meter 'pmic': "),
    "unknown meter": (lambda: None, ["--meter", "guess"], 2, "meter: no meter 'guess'; choose from auto, none, rapl"),
    "little memory": (
        lambda: None,
        ["--memory-limit", "1MiB"],
        3,
        "does not open and run in 1 MiB of memory",
    ),
    "no counter": (lambda: None, ["--counter", "perf"], 2, "'perf' is not 'callgrind'"),
    "bare array": (lambda: np.save("a.npy", np.ones(2)), ["--inputs", "a.npy"], 3, "it is one array; use np.savez"),
    "ragged": (ragged, ["--inputs", "in.npz"], 3, "in.npz: not a readable .npz file of arrays: it holds objects of"),
    "forever": (lambda: None, ["--seconds", "inf"], 2, "should be a finite number, got 'inf'"),
    "no amount": (lambda: None, ["--memory-limit", "much"], 2, "should be an amount of memory such as 512MiB"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("command", ["bench", "bundle"])
def test_what_cannot_be_measured_is_one_line(name, command, capsys):
    spoil, options, exit_code, complaint = BAD[name]
    if command == "bundle" and name in ("no meter", "unknown meter", "little memory"):
        pytest.skip("found on the board")
    classifier(Path("model.onnx"))
    spoil()
    assert cli.main([command, "model.onnx", "--seconds", "0.01", *options, "--json"]) == exit_code
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert complaint in answer["error"]
    assert "\n" not in answer["error"]
    assert "Traceback" not in said.err
    assert not Path("bundle").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--python", "python3.12"], "--python and --ssh go with --on ssh://"),
        (["--ssh", "ssh -v"], "--python and --ssh go with --on ssh://"),
    ],
)
def test_options_that_go_with_another(options, complaint, capsys):
    classifier(Path("model.onnx"))
    assert cli.main(["bench", "model.onnx", *options]) == 2
    assert complaint in capsys.readouterr().err


def test_images_of_another_size_are_not_cropped(capsys):
    write(Path("image.onnx"), "g (float[batch, 3, 8, 8] x) => (float[a, b, c, d] y) { y = Relu (x) }")
    np.savez("in.npz", x=np.ones((2, 3, 9, 9), np.float32))
    assert cli.main(["bench", "image.onnx", "--inputs", "in.npz"]) == 3
    assert "'x' has the shape [2, 3, 9, 9], the model takes [1, 3, 8, 8]" in capsys.readouterr().err


def is_running(argument: str) -> bool:
    """Tell whether a process has an argument."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            if argument.encode() in path.read_bytes().split(b"\0"):
                return True
    return False


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_bench_that_is_stopped_leaves_nothing_running(stop, tmp_path):
    """CI stops one process, not the group that a terminal does."""
    classifier(Path("model.onnx"))
    command = [sys.executable, "-m", "compressor.cli", "bench", str(tmp_path / "model.onnx"), "--seconds", "60"]
    ours = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    stderr: Any = ours.stderr
    assert any(line.startswith("energy") for line in stderr)
    [plan] = tmp_path.glob("compress-*/files/plan.json")
    ours.send_signal(stop)
    assert ours.wait() == 130
    stderr.close()
    assert not plan.parent.exists()
    for _ in range(100):
        if not is_running(str(plan)):
            return
        time.sleep(0.1)
    pytest.fail("the bench goes on")


def test_inputs_that_the_file_does_not_take(capsys):
    classifier(Path("model.onnx"))
    np.savez("in.npz", ids=np.ones((1, 4), np.int64))
    assert cli.main(["bench", "model.onnx", "--inputs", "in.npz"]) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith("in.npz: no array 'input_ids', which the model takes; it has ids")
