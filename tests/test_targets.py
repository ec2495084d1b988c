"""Any ONNX file is measured at lengths and with ids that it can read; what cannot be measured is one line."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_files import N_WORDS, classifier, write

from compressor import cli, targets
from compressor.errors import RecipeError

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
    plan = targets.plan([reader(n_positions)], {})
    assert plan["lengths"] == lengths
    assert plan["inputs"] == {"input_ids": {"below": N_WORDS}}
    assert set(plan["variants"][0]["n_flops"]) == {f"1x{length}" for length in lengths}


def test_a_length_that_is_asked_for_and_cannot_be_read():
    with pytest.raises(RecipeError, match="--length 41: the files read at most 40"):
        targets.plan([reader(40)], {"lengths": [8, 41]})


def test_sequences_of_a_file_are_taken_in_their_length():
    np.savez("in.npz", input_ids=np.ones((3, 7), np.int64))
    assert targets.plan([reader(40)], {"inputs_file": "in.npz"})["lengths"] == [7]
    assert targets.plan([reader(40)], {"inputs_file": "in.npz", "lengths": [5]})["lengths"] == [5]


def external(place: str) -> None:
    """Write a file whose weights lie elsewhere."""
    proto = onnx.load(classifier(Path("model.onnx")))
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=place)
    Path("model.onnx").write_bytes(proto.SerializeToString())


BAD = {
    "corrupt": (lambda: Path("model.onnx").write_bytes(b"no model"), [], 3, "model.onnx: not a readable ONNX file"),
    "empty": (lambda: Path("model.onnx").write_bytes(b""), [], 3, "model.onnx: not an ONNX file"),
    "no weights": (lambda: external("gone"), [], 3, "model.onnx: its weights are missing, 'gone' should lie beside it"),
    "outside": (lambda: external("../w"), [], 3, "model.onnx: its weights should lie beside it, got '../w'"),
    "absolute": (lambda: external("/etc/w"), [], 3, "model.onnx: its weights should lie beside it, got '/etc/w'"),
    "no inputs": (lambda: None, ["--inputs", "no.npz"], 3, "no.npz: not a readable .npz file of arrays"),
    "no meter": (lambda: None, ["--meter", "pmic"], 3, "meter 'pmic': "),
    "unknown meter": (lambda: None, ["--meter", "guess"], 2, "meter: no meter 'guess'; choose from auto, none, rapl"),
    "little memory": (
        lambda: None,
        ["--memory-limit", "1MiB"],
        3,
        "does not open and run in 1,048,576 bytes of memory",
    ),
    "no counter": (lambda: None, ["--counter", "perf"], 2, "'perf' is not 'callgrind'"),
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


def test_inputs_that_the_file_does_not_take(capsys):
    classifier(Path("model.onnx"))
    np.savez("in.npz", ids=np.ones((1, 4), np.int64))
    assert cli.main(["bench", "model.onnx", "--inputs", "in.npz"]) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith("in.npz: no array 'input_ids', which the model takes; it has ids")
