"""`compress inspect`: what is in a network's folder and in an ONNX file, and what is said of those that are damaged."""

import json
import re
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx_files import write
from tiny import TINY, arch_of, bare_context, task_of, tiny
from transformers import AutoConfig, AutoModelForSequenceClassification

from compressor import inputs, surgery
from compressor.cli import main
from compressor.errors import InputError
from compressor.graphs import flops
from compressor.model import Model, Task, inventory, pretrained
from compressor.report import text
from compressor.stages import export

SMALL = """g (int64[n, length] ids) => (y) {
    s = Shape <start = 1, end = 2> (ids)
    p = Slice (places, zero, s, zero)
    e = Gather (words, ids)
    a = Add (e, p)
    y = MatMul (a, w)
}"""
WEIGHTS = {"words": np.zeros((9, 2)), "places": np.zeros((9, 2)), "w": np.zeros((2, 5)), "zero": np.zeros(1, int)}


@pytest.fixture
def cut_folder(tmp_path):
    """A tiny BERT with one width cut, and dead units in another."""
    net = tiny("bert")
    arch = arch_of(net)
    surgery.resize_(net, arch, {"layer.0.ffn": 7})
    width = next(width for width in arch.widths(net) if width.name == "layer.1.heads")
    surgery.zero_units_(net, width, torch.arange(4) == 2)
    pretrained.record(net, {width.name: width.size for width in arch.widths(net)}, (0, 1))
    net.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def bert_graph_file(tmp_path_factory):
    """A tiny BERT as an ONNX file."""
    net = tiny("bert")
    model = Model(net, arch_of(net), Task(*task_of(net)))
    folder = tmp_path_factory.mktemp("graph")
    context = bare_context(folder)
    return export.run(model, export.Options(stage="export"), context).path


def take(path) -> Any:
    """What is found of a folder or a file, which have different keys."""
    return inventory.take(path)


def test_widths_now_and_originally(cut_folder):
    found = take(cut_folder)
    widths = {width["name"]: width for width in found["widths"]}
    assert widths["layer.0.ffn"] == {
        "name": "layer.0.ffn",
        "kind": "neuron",
        "n_units": 7,
        "n_units_original": 24,
        "n_dead": 0,
    }
    assert (widths["layer.1.heads"]["n_units"], widths["layer.1.heads"]["n_dead"]) == (4, 1)
    assert found["n_params_original"] - found["n_params"] == 17 * (2 * 32 + 1)


def test_layers_add_up(cut_folder):
    found = take(cut_folder)
    assert sum(layer["n_params"] for layer in found["layers"]) == found["n_params"]
    assert sum(layer["n_flops"] for layer in found["layers"]) == found["n_flops"]
    assert sum(layer["size_bytes"] for layer in found["layers"]) == found["size_bytes"] == 4 * found["n_params"]
    by_name = {layer["name"]: layer for layer in found["layers"]}
    first, second = by_name["bert.encoder.layer.0"], by_name["bert.encoder.layer.1"]
    assert second["n_flops"] - first["n_flops"] == 2 * 32 * 17 * 2 * 32  # length, neurons, both layers, width


@pytest.mark.parametrize("family", ["t5", "gpt2", "resnet", "autoencoder", "albert", "deberta-v2"])
def test_every_kind_of_network_can_be_looked_at(family, tmp_path):
    tiny(family).save_pretrained(tmp_path)
    found = take(tmp_path)
    assert found["family"] == family
    assert found["n_params"] == found["n_params_original"] > 0
    assert found["n_flops"] > 0
    assert found["class"] in text.inventory(found)


def test_an_exported_file_shows_its_layers(bert_graph_file):
    found = take(bert_graph_file)
    assert found == take(bert_graph_file.parent)  # a folder that holds nothing else
    assert found["opset"]["ai.onnx"] == 23
    assert [each["name"] for each in found["inputs"]] == ["input_ids", "attention_mask"]
    shape = ["batch", "length"]
    assert found["inputs"] == [
        {"name": "input_ids", "type": "int64", "shape": shape, "below": 64},
        {"name": "attention_mask", "type": "int64", "shape": shape, "below": None},
    ]
    assert (found["max_length"], found["flops_at"]) == (40, "1x32")
    n_flops = flops.count(bert_graph_file, 1, 32)
    assert n_flops
    assert found["n_flops"] == n_flops
    assert sum(found["ops"].values()) == found["n_nodes"] == sum(layer["n_nodes"] for layer in found["layers"])
    assert sum(layer["n_params"] for layer in found["layers"]) == found["n_params"]
    names = [layer["name"] for layer in found["layers"]]
    assert names.index("bert.encoder.layer.0") < names.index("bert.encoder.layer.1") < names.index("classifier")
    assert found["ops"]["Attention"] == 2


@pytest.mark.parametrize(
    ("inputs", "flops_at"),
    [
        ("int64[n, length] ids", "1x32"),
        ("int64[4, 7] ids", "4x7"),
        ("int64[4, 7] ids, float[4, 2, 3] pixels", "4x7"),
        ("float[n, 3] row", "1"),
        ("int64[n, length] ids, float[n, length] weights", "1x32"),
        ("float[2, 3] row", "2"),
        ("float[n, 3, 5, 5] pixels", "1"),
        ("", "1"),
    ],
)
def test_flops_are_counted_at_a_shape_that_the_file_takes(inputs, flops_at, tmp_path):
    text = f"g ({inputs}) => (y) {{ y = MatMul (v, w) }}"
    weights = {"v": np.zeros((3, 2), np.float32), "w": np.zeros((2, 5), np.float32)}
    found = take(write(tmp_path / "graph.onnx", text, weights))
    assert (found["flops_at"], found["n_flops"]) == (flops_at, 2 * 3 * 2 * 5)


SHORT = {
    "bert": {"max_position_embeddings": 16},
    "gpt2": {"max_position_embeddings": 16},
    "bart": {"max_position_embeddings": 16},
    "roberta": {"max_position_embeddings": 18, "pad_token_id": 1},  # two of the positions belong to no token
    "distilbert": {"max_position_embeddings": 16},
}


@pytest.mark.parametrize("family", SHORT)
def test_flops_of_a_network_are_counted_at_a_length_that_it_reads(family, tmp_path):
    config = AutoConfig.for_model(family, **TINY[family] | SHORT[family])
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    found = take(tmp_path)
    assert found["flops_at"] == "1x16"
    assert found["n_flops"] == sum(layer["n_flops"] for layer in found["layers"])
    assert re.search(r"FLOPs at 1.16\n", text.inventory(found))


@pytest.mark.parametrize("n_positions", [None, -1, 0])
def test_networks_without_a_longest_text(n_positions):
    net = tiny("t5")
    net.config.max_position_embeddings = n_positions
    assert inputs.text.longest(net) is None


def test_flops_that_depend_on_an_open_axis_are_unknown(tmp_path):
    """As voice detectors: the number of samples is open, and no number of them is the usual one."""
    weights = {"w": np.zeros((4, 3), np.float32)}
    found = take(write(tmp_path / "graph.onnx", "g (float[n, length] x) => (y) { y = MatMul (x, w) }", weights))
    assert (found["flops_at"], found["n_flops"], found["max_length"]) == ("1", None, None)


def test_flops_are_counted_at_no_length_that_is_too_long(tmp_path):
    found = take(write(tmp_path / "graph.onnx", SMALL, WEIGHTS))
    assert (found["max_length"], found["flops_at"], found["n_flops"]) == (9, "1x9", 2 * 9 * 2 * 5)


def test_flops_that_are_unknown_are_said_to_be(tmp_path):
    file = write(tmp_path / "graph.onnx", "g (float[n, 3] x) => (y) { y = mine.Product (x, x) }")
    assert take(file)["n_flops"] is None
    assert "unknown FLOPs at batch 1\n" in text.inventory(take(file))


def test_the_command_prints_tables(bert_graph_file, cut_folder, capsys):
    assert main(["inspect", str(cut_folder)]) == 0
    assert re.search(r"layer\.0\.ffn +7 +24 +0", capsys.readouterr().out)
    assert main(["inspect", str(bert_graph_file)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"Attention +2", shown)
    assert re.search(r"operations, [\d.]+ . FLOPs at 1.32\ninputs: input_ids int64 batchxlength below 64, att", shown)
    assert "\nlongest text: 40 tokens\n" in shown


def test_json_is_what_python_gives(cut_folder, capsys):
    assert main(["inspect", str(cut_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == take(cut_folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it has no operations"),
        (b"no graph at all", "not a readable ONNX file"),
        (None, "neither a folder nor a"),
    ],
)
def test_files_that_are_no_graphs(tmp_path, content, said):
    file = tmp_path / "net.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=said):
        take(file)


def test_a_byte_that_is_wrong_ends_in_an_answer_or_one_line(tmp_path):
    content = write(tmp_path / "graph.onnx", SMALL, WEIGHTS).read_bytes()
    rng = np.random.default_rng(0)
    lines = []
    for index in range(0, len(content), 2):
        damaged = content[:index] + rng.bytes(1) + content[index + 1 :]
        (tmp_path / "graph.onnx").write_bytes(damaged)
        try:
            take(tmp_path / "graph.onnx")
        except InputError as error:
            lines.append(str(error))
    assert lines
    assert not [line for line in lines if "\n" in line]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (b"Gather", b"Gat\xffer", r"not a readable ONNX file \(a name in it is not text\)"),
        (b"\x10\x0bB\x05words", b"\x10\x63B\x05words", r"\('words' has no known type\)"),
    ],
)
def test_names_and_types_that_are_none(before, after, said, tmp_path):
    file = write(tmp_path / "graph.onnx", SMALL, WEIGHTS)
    content = file.read_bytes()
    assert content.count(before) == 1
    file.write_bytes(content.replace(before, after))
    with pytest.raises(InputError, match=said):
        take(file)


def with_weights_at(place, file):
    """An ONNX file whose weights are said to lie elsewhere."""
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    weight = onnx.numpy_helper.from_array(torch.zeros(1).numpy(), "w")
    graph = onnx.helper.make_graph([node], "g", [value], [value], [weight])
    onnx.external_data_helper.set_external_data(graph.initializer[0], place)
    graph.initializer[0].ClearField("raw_data")
    file.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    return file


def test_weights_that_are_missing(tmp_path):
    with pytest.raises(InputError, match=r"its weights are missing, 'net\.data' should be next to it"):
        take(with_weights_at("net.data", tmp_path / "net.onnx"))


@pytest.mark.parametrize("place", ["../net.data", "/net.data"])
def test_weights_that_lie_outside_the_folder_of_the_file(tmp_path, place):
    (tmp_path / "net.data").write_bytes(bytes(4))
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match=rf"its weights should be next to it, got '{place}'"):
        take(with_weights_at(place, tmp_path / "in" / "net.onnx"))


@pytest.mark.parametrize(("place", "complaint"), [("../net.data", "should be next to it"), ("gone", "are missing")])
def test_weights_of_a_branch_that_lie_elsewhere(tmp_path, place, complaint):
    inner = onnx.load(with_weights_at(place, tmp_path / "inner.onnx"), load_external_data=False).graph
    inner.node[0].input[0] = "w"
    del inner.input[:]
    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    condition = onnx.helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])
    graph = onnx.helper.make_graph([node], "g", [condition], list(inner.output))
    (tmp_path / "net.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(InputError, match=complaint):
        take(tmp_path / "net.onnx")


def test_a_folder_without_a_network(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json in this folder"):
        take(tmp_path)


def test_weights_in_operations_count_and_free_axes_have_no_size(tmp_path):
    """As voice detectors are exported: a Constant, one in a branch, and numbers that are no weights."""
    text_ = """g (float[batch, 3] x, bool c, float[?, 2] z) => (float[batch, 2] y, float[?, 2] same) {
        w = Constant <value = float[3, 2] {1, 2, 3, 4, 5, 6}> ()
        floats = Constant <value_floats = [9.0, 9.0]> () whole = Constant <value_ints = [1, 2]> ()
        size = Constant <value = int64[2] {1, 2}> () unit = Constant <value = float {1}> ()
        m = MatMul (x, w) p = Add (m, floats) s = Mul (p, unit) same = Identity (z)
        y = If (c) <then_branch = a () => (t) { b = Constant <value = float[2] {7, 8}> () t = Add (s, b) },
                    else_branch = e () => (u) { u = Identity (s) }>
    }"""
    found = take(write(tmp_path / "graph.onnx", text_))
    assert found["n_params"] == 3 * 2 + 2 + 2 == sum(layer["n_params"] for layer in found["layers"])
    assert sum(layer["size_bytes"] for layer in found["layers"]) == 4 * found["n_params"]
    assert [each["shape"] for each in found["inputs"]] == [["batch", 3], [], [None, 2]]
    shown = text.inventory(found)
    assert "x float batchx3, c bool" in shown
    assert "z float ?x2" in shown
    for number in (-1, 0):
        proto = onnx.load(tmp_path / "graph.onnx")
        proto.graph.input[2].type.tensor_type.shape.dim[0].dim_value = number
        onnx.save(proto, tmp_path / "minus.onnx")
        inputs = take(tmp_path / "minus.onnx")["inputs"]
        assert inputs[2]["shape"] == ([None, 2] if number else [0, 2])
