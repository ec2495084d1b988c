"""`compress quantize` on files of any origin."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import classifier

from compressor.cli.app import main

ROWS = {"input_ids": np.arange(40).reshape(8, 5) % 12}


def call(capsys, *arguments):
    code = main(["quantize", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def rows(tmp_path):
    np.savez(tmp_path / "rows.npz", labels=np.zeros(8, np.int64), **ROWS)
    return tmp_path / "rows.npz"


@pytest.mark.parametrize("mode", ["dynamic", "static", "weights"])
def test_every_mode_quantizes_a_bare_file(mode, tmp_path, rows, capsys):
    file = classifier(tmp_path / "model.onnx")
    code, out, err = call(capsys, file, "--out", tmp_path / "out", "--mode", mode, "--inputs", rows, "--json")
    assert code == 0, err
    done = json.loads(out)
    assert done["precision"] == ("int4" if mode == "weights" else "int8")
    assert done["max_abs_diff"] < 0.5
    assert 0 <= done["accuracy"] <= 1
    ops = {node.op_type for node in onnx.load(tmp_path / "out/model.onnx").graph.node}
    assert ops & {"MatMulInteger", "MatMulNBits", "DynamicQuantizeLinear"}


def test_weights_in_constants_beside_and_transposed_are_found(tmp_path, rows, capsys):
    rng = np.random.default_rng(0)
    table, head = (
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for shape, name in (((12, 4), "words"), ((2, 4), "head"))
    )
    nodes = [
        helper.make_node("Constant", [], ["rows_of_head"], value=head),
        helper.make_node("Transpose", ["rows_of_head"], ["columns"]),
        helper.make_node("Gather", ["words", "input_ids"], ["hidden"]),
        helper.make_node("ReduceMax", ["hidden"], ["pooled"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["pooled", "columns"], ["logits"]),
    ]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "g", [ids], [logits], [table])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file = tmp_path / "model.onnx"
    onnx.save(proto, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    code, _, err = call(capsys, file, "--out", tmp_path / "out", "--mode", "static", "--inputs", rows)
    assert code == 0, err
    assert any(node.op_type == "MatMulInteger" for node in onnx.load(tmp_path / "out/model.onnx").graph.node)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--mode", "static"], 3, "calibration: no row was given"),
        (["--mode", "statik"], 2, "mode: no such file in compressor.quantizers; choose from"),
        (["--max-accuracy-drop", "1%"], 3, "need labels"),
        (["--mode", "weights", "--target", "arm"], 2, "'target' is not for mode: weights"),
        (["--storage-bits", "4"], 3, "storage_bits: 4: needs opset 21, the graph has 17"),
        (["--float-layers", "x"], 3, "float_layers: no layer matches 'x'"),
    ],
)
def test_bad_input_is_one_line(arguments, code, message, tmp_path, capsys):
    file = classifier(tmp_path / "model.onnx")
    found, _, err = call(capsys, file, "--out", tmp_path / "out", *arguments)
    assert found == code
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out/model.onnx").exists()


def test_quantized_files_and_the_file_itself_are_refused(tmp_path, capsys):
    file = classifier(tmp_path / "model.onnx")
    code, _, err = call(capsys, file, "--out", tmp_path)
    assert (code, "choose another --out" in err) == (3, True)
    assert call(capsys, file, "--out", tmp_path / "out")[0] == 0
    code, _, err = call(capsys, tmp_path / "out/model.onnx", "--out", tmp_path / "again")
    assert (code, "is quantized already" in err) == (3, True)


def test_rows_that_do_not_fit_are_refused(tmp_path, capsys):
    file = classifier(tmp_path / "model.onnx")
    np.savez(tmp_path / "rows.npz", input_ids=ROWS["input_ids"], labels=np.zeros(3, np.int64))
    code, _, err = call(capsys, file, "--out", tmp_path / "out", "--mode", "static", "--inputs", tmp_path / "rows.npz")
    assert (code, "one row for each example, got [3, 8] rows" in err) == (3, True)
