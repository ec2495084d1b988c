"""ONNX files from elsewhere: free sizes, states beside the input, no batch, tables, links."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_files import write

from compressor import cli
from compressor.bench import sessions
from compressor.bench.errors import InputError
from compressor.bench.inputs import axes_of, read_inputs
from compressor.bench.load import size_bytes
from compressor.bench.plan import Plan, parsed
from compressor.errors import RecipeError
from compressor.measure import bundle
from compressor.measure.plan import plan as plan_of

IMAGES = """g (float[batch, 3, height, width] images) => (float[batch, 4] scores) {
    c = Conv <pads = [1, 1, 1, 1]> (images, w) p = GlobalAveragePool (c) f = Flatten (p) scores = Gemm (f, v) }"""
FILTERS = {"w": np.ones((8, 3, 3, 3), np.float32), "v": np.ones((8, 4), np.float32)}
FRAMES = (
    "g (float[batch, frames, 80] x) => (float[batch, 5] y) { m = MatMul (x, w) y = ReduceMax <keepdims = 0> (m, one) }"
)
DETECTOR = """g (float[{batch}, 16] input, float[2, {batch}, 8] state, int64 sr) => (y, n) {{
    x = MatMul (input, w) s = ReduceSum <keepdims = 0> (state, zero) y = Add (x, s) n = Identity (state) }}"""
CACHE = """g (int64[batch, length] input_ids, float[batch, 2, past, 4] key) => (y) {
    e = Gather (words, input_ids) k = ReduceMax <keepdims = 0> (key) y = Add (e, k) }"""
TABLE = "g (float[?, ?] row) => (float[?, 3] y) { y = MatMul (row, w) }"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def detector(batch: str) -> Path:
    weights = {"w": np.ones((16, 8), np.float32), "zero": np.array([0])}
    return write(Path("detector.onnx"), DETECTOR.format(batch=batch), weights)


def fed(file: Path, document) -> dict[str, tuple[int, ...]]:
    """Run a file with the inputs of its plan, at its first shape; give their shapes."""
    plan = Plan(**document, folder=Path())
    session = sessions.open_session(file, 1)
    length = plan.lengths[0] if axes_of(session).has_free_length(plan.inputs) else None
    arrays = read_inputs(**plan.fed).at(session, plan.batch_sizes[0], length)
    sessions.run_once(session, arrays, file)
    return {name: array.shape for name, array in arrays.items()}


class TestFreeSizes:
    def test_a_shape_that_is_asked_for(self):
        file = write(Path("image.onnx"), IMAGES, FILTERS)
        document = plan_of([file], {"inputs": {"images": {"shape": [2, 3, 24, 24]}}})
        assert fed(file, document) == {"images": (2, 3, 24, 24)}
        assert document["variants"][0]["n_flops"] == {"2": 2 * 2 * (8 * 27 * 24 * 24 + 8 * 4)}

    def test_images_are_measured_in_their_own_size(self):
        file = write(Path("image.onnx"), IMAGES, FILTERS)
        np.savez("in.npz", images=np.ones((4, 3, 24, 20), np.float32))
        document = plan_of([file], {"inputs_file": "in.npz", "batch_sizes": [1, 3]})
        assert fed(file, document) == {"images": (1, 3, 24, 20)}
        assert document["variants"][0]["n_flops"]["1"] == 2 * (8 * 27 * 24 * 20 + 8 * 4)

    def test_frames_and_rows_are_measured_in_their_own_size(self):
        frames = write(Path("speech.onnx"), FRAMES, {"w": np.ones((80, 5), np.float32), "one": np.array([1])})
        np.savez("in.npz", x=np.ones((2, 50, 80), np.float32))
        assert fed(frames, plan_of([frames], {"inputs_file": "in.npz"})) == {"x": (1, 50, 80)}
        table = write(Path("table.onnx"), TABLE, {"w": np.ones((4, 3), np.float32)})
        np.savez("in.npz", row=np.ones((6, 4), np.float32))
        document = plan_of([table], {"inputs_file": "in.npz"})
        assert (document["lengths"], fed(table, document)) == ([4], {"row": (1, 4)})
        assert fed(table, plan_of([table], {"lengths": [4]})) == {"row": (1, 4)}

    @pytest.mark.parametrize(
        ("text", "way_out"),
        [
            (
                IMAGES,
                "image.onnx: input 'images': the file leaves axes of 1x3x?x? open; give --shape images=1x3xNxN, or ",
            ),
            (FRAMES, "input 'x': the file leaves axes of 1x?x80 open; give --shape x=1xNx80, or --inputs FILE.npz"),
            (TABLE, "input 'row': the file leaves axes of 1x? open; give --shape row=1xN, or --inputs FILE.npz"),
            (
                CACHE,
                "input 'key': the file leaves axes of 1x2x?x4 open; give --shape key=1x2xNx4, or --inputs FILE.npz",
            ),
        ],
    )
    @pytest.mark.parametrize("command", ["bench", "bundle", "gate"])
    def test_without_a_size_there_is_a_way_out(self, capsys, command, text, way_out):
        write(Path("image.onnx"), text)
        assert cli.main([command, "image.onnx", *(["--self-test"] if command == "gate" else [])]) == 2
        [line] = capsys.readouterr().err.strip().splitlines()[-1:]
        assert way_out in line

    @pytest.mark.parametrize(
        ("shape", "complaint"),
        [
            ("pixels=1x3x8x8", "--shape pixels=1x3x8x8: no input 'pixels'; the file takes images"),
            ("images=1x4x8x8", "--shape images=1x4x8x8: the file takes batchx3xheightxwidth"),
            ("images=3x8x8", "--shape images=3x8x8: the file takes batchx3xheightxwidth"),
            ("images=1x3x0x8", "should be NAME=1x3x320x320, got 'images=1x3x0x8'"),
        ],
    )
    def test_a_shape_that_does_not_fit(self, capsys, shape, complaint):
        write(Path("image.onnx"), IMAGES, FILTERS)
        assert cli.main(["bench", "image.onnx", "--shape", shape]) == 2
        assert complaint in capsys.readouterr().err


class TestStates:
    @pytest.mark.parametrize("batch", ["batch", "1"])
    def test_the_first_axis_of_a_state_is_no_batch(self, batch):
        file = detector(batch)
        expected = {"input": (1, 16), "state": (2, 1, 8), "sr": ()}
        document = plan_of([file], {})
        assert document["batch_sizes"] == [1]
        assert fed(file, document) == expected
        for sr in (np.int64(16000), np.array([16000])):
            np.savez("in.npz", input=np.ones((3 if batch == "batch" else 1, 16), np.float32), sr=sr,
                     state=np.ones((2, 3 if batch == "batch" else 1, 8), np.float32))  # fmt: skip
            assert fed(file, plan_of([file], {"inputs_file": "in.npz"})) == expected

    def test_a_state_grows_with_the_batch(self):
        file = detector("batch")
        assert fed(file, plan_of([file], {"batch_sizes": [5]}))["state"] == (2, 5, 8)
        proto = onnx.load(file)
        for each in proto.graph.input[:2]:
            for axis in each.type.tensor_type.shape.dim:
                axis.ClearField("dim_param") if axis.dim_param else None
        onnx.save(proto, "nameless.onnx")
        assert fed(Path("nameless.onnx"), plan_of([Path("nameless.onnx")], {"batch_sizes": [5]}))["state"] == (2, 5, 8)

    def test_the_state_of_an_example_is_that_of_the_example(self):
        session = sessions.open_session(detector("batch"), 1)
        state = np.arange(2 * 3 * 8, dtype=np.float32).reshape(2, 3, 8)
        np.savez("in.npz", input=np.ones((3, 16), np.float32), state=state, sr=np.int64(8))
        examples = list(read_inputs({}, "in.npz", 0).examples(session))
        assert [each["state"].tolist() for each in examples] == [state[:, [i]].tolist() for i in range(3)]
        assert {each["sr"].shape for each in examples} == {()}

    def test_a_cache_of_its_own_length(self):
        file = write(Path("cache.onnx"), CACHE, {"words": np.ones((9, 4), np.float32)})
        np.savez("in.npz", input_ids=np.zeros((1, 4), np.int64), key=np.zeros((1, 2, 7, 4), np.float32))
        found = fed(file, plan_of([file], {"inputs_file": "in.npz", "lengths": [3]}))
        assert found == {"input_ids": (1, 3), "key": (1, 2, 7, 4)}

    def test_sequences_of_two_lengths_keep_theirs(self):
        text = (
            "g (int64[b, n] ids, int64[b, m] other) => (y) { a = ReduceMax (ids) c = ReduceMax (other) y = Add (a, c) }"
        )
        file = write(Path("two.onnx"), text)
        np.savez("in.npz", ids=np.zeros((2, 9), np.int64), other=np.zeros((2, 4), np.int64))
        assert fed(file, plan_of([file], {"inputs_file": "in.npz"})) == {"ids": (1, 9), "other": (1, 4)}


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("float[1600] x", {"x": (1600,)}),
        ("float[24, 24, 3] x", {"x": (24, 24, 3)}),
        ("float[3, 8] x, float[5, 8] z", {"x": (3, 8), "z": (5, 8)}),
        ("float[2, 1, 64] x", {"x": (2, 1, 64)}),
    ],
)
def test_a_file_without_a_batch_runs_as_it_is(capsys, inputs, expected):
    file = write(Path("one.onnx"), f"g ({inputs}) => (y) {{ y = ReduceMax (x) }}")
    document = plan_of([file], {})
    assert (document["batch_sizes"], fed(file, document)) == ([1], expected)
    assert cli.main(["bench", "one.onnx", "--batch-size", "4", "--seconds", "0.01"]) == 3
    assert "its batch is not among the axes of the inputs, asked for 4; give --batch-size 1" in capsys.readouterr().err


@pytest.mark.slow
def test_files_of_other_projects():
    """Those of text recognition, voice detection and file kinds, from a package index; CI must reach one."""
    script = Path(__file__).parents[1] / "interop/check_foreign.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    if done.returncode == 77 and "CI" not in os.environ:
        pytest.skip("the wheels of other projects cannot be had here")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_that_refuses_random_numbers_says_which(capsys):
    """A voice detector takes two sampling rates, which no random number is."""
    file = write(Path("voice.onnx"), "g (float[b, 17] x, int64[1] sr) => (y) { y = Reshape (x, sr) }")
    assert cli.main(["bench", str(file), "--seconds", "0.01", "--meter", "none"]) == 3
    [line] = capsys.readouterr().err.strip().splitlines()[-1:]
    assert re.search(
        r"cannot run it with x \[1, 17\], sr \d: .*; give it others with --shape or --inputs FILE\.npz$", line
    )


def test_one_inference_without_a_batch_is_one_inference(capsys):
    write(Path("audio.onnx"), "g (float[1600] x) => (y) { y = ReduceMax (x) }")
    assert cli.main(["bench", "audio.onnx", "--seconds", "0.01", "--meter", "none", "--json"]) == 0
    [entry] = json.loads(capsys.readouterr().out)["variants"][0]["bench"]
    assert (entry["batch_size"], entry["scenario"]) == (1, "SingleStream")
    assert entry["throughput_per_s"] == pytest.approx(1e3 / entry["mean_ms"])


def test_names_of_tensorflow():
    """`input_mask:0` is a mask, and `segment_ids:0` numbers sentences."""
    text = "g (int64[b, n] ids, int64[b, n] m, int64[b, n] s) => (y) { a = Mul (ids, m) y = Add (a, s) }"
    proto = onnx.load(write(Path("tf.onnx"), text))
    names = {"ids": "input_ids:0", "m": "input_mask:0", "s": "segment_ids:0"}
    for each in proto.graph.input:
        each.name = names[each.name]
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    onnx.save(proto, "tf.onnx")
    session = sessions.open_session(Path("tf.onnx"), 1)
    made = read_inputs({}, None, 0).at(session, 2, 4)
    assert (made["input_mask:0"] == 1).all()
    assert (made["segment_ids:0"] == 0).all()
    np.savez("in.npz", **made)
    document = plan_of([Path("tf.onnx")], {"inputs_file": "in.npz", "inputs": {"input_ids:0": {"shape": [2, 4]}}})
    assert fed(Path("tf.onnx"), document)["input_ids:0"] == (2, 4)


def test_a_model_and_its_weights_are_links(capsys):
    """As the Hub's cache has them: the weights lie beside the link, not beside what it points to."""
    Path("blobs").mkdir()
    Path("snapshot").mkdir()
    proto = onnx.load(write(Path("image.onnx"), IMAGES, FILTERS))
    onnx.save(proto, "plain.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    for name, blob in (("plain.onnx", "aaa"), ("model.onnx_data", "bbb")):
        Path(name).rename(Path("blobs", blob))
        Path("snapshot", name).symlink_to(f"../blobs/{blob}")
    size = ["--shape", "images=1x3x8x8"]
    assert cli.main(["bench", "snapshot/plain.onnx", *size, "--seconds", "0.01", "--meter", "none", "--json"]) == 0
    [variant] = json.loads(capsys.readouterr().out)["variants"]
    assert variant["size_bytes"] == sum(Path("blobs", blob).stat().st_size for blob in ("aaa", "bbb"))
    assert variant["size_bytes"] == size_bytes(Path("snapshot/plain.onnx"), ["model.onnx_data"])
    assert cli.main(["bundle", "snapshot/plain.onnx", *size, "--out", "b.zip"]) == 0
    assert {"0/plain.onnx", "0/model.onnx_data"} <= set(zipfile.ZipFile("b.zip").namelist())


def test_a_bundle_brings_shapes_states_and_scalars(tmp_path):
    document = bundle.write(plan_of([detector("batch")], {"batch_sizes": [2]}), Path("bundle"))
    folder = Path("bundle")
    plan = parsed(document, folder)
    made = read_inputs(**plan.fed).at(sessions.open_session(plan.path(plan.variants[0]), 1), 2, None)
    assert {name: array.shape for name, array in made.items()} == {"input": (2, 16), "state": (2, 2, 8), "sr": ()}


def test_arrays_with_other_numbers_of_examples():
    session = sessions.open_session(detector("batch"), 1)
    np.savez("in.npz", input=np.ones((3, 16), np.float32), state=np.ones((2, 2, 8), np.float32), sr=np.int64(8))
    with pytest.raises(InputError, match="every array should have as many examples, got"):
        read_inputs({}, "in.npz", 0).at(session, 1, None)
    with pytest.raises(RecipeError, match="--shape: every input should have as many examples"):
        plan_of([Path("detector.onnx")], {"inputs": {"input": {"shape": [1, 16]}, "state": {"shape": [2, 2, 8]}}})
