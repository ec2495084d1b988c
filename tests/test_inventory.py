"""`compress inspect`: what is in a network's folder and in an ONNX file, and what is said of those that are damaged."""

import json
import re
from types import SimpleNamespace

import onnx
import pytest
import torch
from tiny import arch_of, task_of, tiny

from compressor import inventory, pretrained, surgery
from compressor.cli import main
from compressor.errors import InputError
from compressor.model import Model, Task
from compressor.report import text
from compressor.stages import export


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
    context = SimpleNamespace(folder=folder, seed=0, metadata={}, log=lambda **numbers: None)
    return export.run(model, export.Options(stage="export"), context).path


def test_widths_now_and_originally(cut_folder):
    found = inventory.take(cut_folder)
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
    found = inventory.take(cut_folder)
    assert sum(layer["n_params"] for layer in found["layers"]) == found["n_params"]
    assert sum(layer["n_flops"] for layer in found["layers"]) == found["n_flops"]
    assert sum(layer["size_bytes"] for layer in found["layers"]) == found["size_bytes"] == 4 * found["n_params"]
    by_name = {layer["name"]: layer for layer in found["layers"]}
    first, second = by_name["bert.encoder.layer.0"], by_name["bert.encoder.layer.1"]
    assert second["n_flops"] - first["n_flops"] == 2 * 32 * 17 * 2 * 32  # length, neurons, both layers, width


@pytest.mark.parametrize("family", ["t5", "gpt2", "resnet", "autoencoder", "albert"])
def test_every_kind_of_network_can_be_looked_at(family, tmp_path):
    tiny(family).save_pretrained(tmp_path)
    found = inventory.take(tmp_path)
    assert found["family"] == family
    assert found["n_params"] == found["n_params_original"] > 0
    assert found["n_flops"] > 0
    assert found["class"] in text.inventory(found)


def test_an_exported_file_shows_its_layers(bert_graph_file):
    found = inventory.take(bert_graph_file)
    assert found == inventory.take(bert_graph_file.parent)  # a folder that holds nothing else
    assert found["opset"]["ai.onnx"] == 23
    assert [each["name"] for each in found["inputs"]] == ["input_ids", "attention_mask"]
    assert found["inputs"][0] == {"name": "input_ids", "type": "int64", "shape": ["batch", "length"]}
    assert sum(found["ops"].values()) == found["n_nodes"] == sum(layer["n_nodes"] for layer in found["layers"])
    assert sum(layer["n_params"] for layer in found["layers"]) == found["n_params"]
    names = [layer["name"] for layer in found["layers"]]
    assert names.index("bert.encoder.layer.0") < names.index("bert.encoder.layer.1") < names.index("classifier")
    assert found["ops"]["Attention"] == 2


def test_the_command_prints_tables(bert_graph_file, cut_folder, capsys):
    assert main(["inspect", str(cut_folder)]) == 0
    assert re.search(r"layer\.0\.ffn +7 +24 +0", capsys.readouterr().out)
    assert main(["inspect", str(bert_graph_file)]) == 0
    assert re.search(r"Attention +2", capsys.readouterr().out)


def test_json_is_what_python_gives(cut_folder, capsys):
    assert main(["inspect", str(cut_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == inventory.take(cut_folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no operation is in it"),
        (b"no graph at all", "not a readable ONNX file"),
        (None, "neither a folder nor a"),
    ],
)
def test_files_that_are_no_graphs(tmp_path, content, said):
    file = tmp_path / "net.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=said):
        inventory.take(file)


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
    with pytest.raises(InputError, match=r"its weights are missing, 'net\.data' should lie beside it"):
        inventory.take(with_weights_at("net.data", tmp_path / "net.onnx"))


@pytest.mark.parametrize("place", ["../net.data", "/net.data"])
def test_weights_that_lie_outside_the_folder_of_the_file(tmp_path, place):
    (tmp_path / "net.data").write_bytes(bytes(4))
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match=rf"its weights should lie beside it, got '{place}'"):
        inventory.take(with_weights_at(place, tmp_path / "in" / "net.onnx"))


def test_a_folder_without_a_network(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json there"):
        inventory.take(tmp_path)
