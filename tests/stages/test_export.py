import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoConfig, AutoTokenizer

from compressor.data import example_inputs
from compressor.errors import InputError, ParityError
from compressor.model import OnnxGraph, Source, load_model, logits_of
from compressor.stages import export
from compressor.train import Context

METADATA = {"producer": "compressor", "version": "0.0", "source": "hub/name", "recipe": "0123"}


def context(folder, seed=0):
    return Context(folder, "key", seed, data=None, originals=None, metadata=METADATA)


def bert(folder):
    return load_model(Source(checkpoint=str(folder), task="text-classification"), None)


def distilbert(folder):
    config = {"model_type": "distilbert", "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 12, "vocab_size": 32}
    model = load_model(Source(config=config, processor=str(folder), task="text-classification"), ("no", "yes"))
    task = dataclasses.replace(model.task, input_names=("input_ids", "attention_mask"))
    return dataclasses.replace(model, task=task)


def vit(n_layers):
    sizes = {"hidden_size": 16, "num_hidden_layers": n_layers, "num_attention_heads": 2, "intermediate_size": 12}
    config = {"model_type": "vit", "image_size": 8, "patch_size": 4, "num_channels": 1, **sizes}
    return load_model(Source(config=config, task="image-classification"), ("no", "yes"))


def options(**settings):
    return export.Options(stage="export", **settings)


def n_nodes(graph, op_type):
    return sum(node.op_type == op_type for node in onnx.load(graph.path).graph.node)


def assert_same_logits(graph, model):
    for batch_size, length in ((1, 1), (2, 5), (7, 19)):
        generator = torch.Generator().manual_seed(length)
        rows = example_inputs(model.task, model.net.config, batch_size, length, generator)
        torch.testing.assert_close(logits_of(graph)(rows), logits_of(model)(rows), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def model(bert_folder):
    return bert(bert_folder)


@pytest.fixture(scope="module")
def graph(model, tmp_path_factory):
    return export.run(model, options(), context(tmp_path_factory.mktemp("export")))


def test_onnxruntime_gives_the_logits_of_torch_at_other_shapes_and_under_padding(model, graph):
    assert_same_logits(graph, model)


@pytest.mark.slow
@pytest.mark.parametrize("opset", ["auto", 18])
@pytest.mark.parametrize("family", ["bert", "distilbert", "vit"])
def test_every_family_exports_at_the_best_opset_and_for_old_runtimes(family, opset, bert_folder, tmp_path):
    model = {"bert": lambda: bert(bert_folder), "distilbert": lambda: distilbert(bert_folder), "vit": lambda: vit(2)}[
        family
    ]()
    graph = export.run(model, options(opset=opset), context(tmp_path))
    assert_same_logits(graph, model)
    assert n_nodes(graph, "Attention") == (2 if opset == "auto" else 0)


def test_a_padded_sentence_has_the_logits_it_has_alone(graph):
    words = torch.randint(5, 20, (1, 9), generator=torch.Generator().manual_seed(1))
    padding = torch.zeros(1, 4, dtype=torch.long)
    long = torch.cat([words, padding + 7], dim=1)  # real words under the padding: they must not matter
    mask = torch.cat([torch.ones_like(words), padding], dim=1)
    logits = logits_of(graph)
    alone = logits({"input_ids": words, "attention_mask": torch.ones_like(words), "token_type_ids": words * 0})
    padded = logits({"input_ids": long, "attention_mask": mask, "token_type_ids": long * 0})
    torch.testing.assert_close(padded, alone, rtol=1e-5, atol=1e-6)


def test_names_and_axes_are_those_that_optimum_expects(graph):
    session = onnxruntime.InferenceSession(graph.path)
    shapes = {node.name: node.shape for node in (*session.get_inputs(), *session.get_outputs())}
    tokens = ["batch", "length"]
    inputs = {"input_ids": tokens, "attention_mask": tokens, "token_type_ids": tokens}
    assert shapes == {**inputs, "logits": ["batch", 2]}


def test_the_folder_is_complete(graph, model):
    folder = graph.path.parent
    assert AutoConfig.from_pretrained(folder).id2label == {0: "negative", 1: "positive"}
    assert (
        AutoTokenizer.from_pretrained(folder)("a good film").input_ids == model.task.processor("a good film").input_ids
    )
    assert not [file.name for file in folder.iterdir() if "partial" in file.name or file.suffix == ".data"]


def test_parity_says_what_was_compared(graph):
    parity = json.loads((graph.path.parent / "parity.json").read_text())
    shapes = [(check["batch_size"], check["length"]) for check in parity["checks"]]
    assert shapes == [(1, 8), (1, 32), (3, 8), (3, 32)]
    assert parity["opset"] == 23
    assert parity["max_abs_diff"] == max(check["max_abs_diff"] for check in parity["checks"]) < 1e-5


def test_the_file_says_where_it_comes_from_and_nothing_of_this_machine(graph):
    proto = onnx.load(graph.path)
    assert {entry.key: entry.value for entry in proto.metadata_props} == METADATA
    assert str(Path(torch.__file__).parents[1]).encode() not in graph.path.read_bytes()
    onnx.checker.check_model(proto, full_check=True)


def test_the_net_is_left_as_it_was(tmp_path):
    model = vit(1)
    model.net.train()
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    export.run(model, options(opset=18), context(tmp_path))
    assert all(module.training for module in model.net.modules())
    assert model.net.config._attn_implementation == "sdpa"
    assert all(torch.equal(before[name], tensor) for name, tensor in model.net.state_dict().items())


def test_a_family_may_name_its_own_opset(tmp_path):
    model = dataclasses.replace(vit(1), arch=SimpleNamespace(OPSET=18))
    graph = export.run(model, options(), context(tmp_path))
    assert {entry.version for entry in onnx.load(graph.path).opset_import} == {18}


@pytest.mark.parametrize("broken", ["tolerance", "nan"])
def test_logits_that_differ_are_an_error_and_leave_the_earlier_file(broken, tmp_path):
    model = vit(1)
    (tmp_path / "model.onnx").write_bytes(b"earlier")
    if broken == "nan":
        model.net.classifier.bias.data.fill_(torch.nan)
    atol = 1e-3 if broken == "nan" else 1e-30
    with pytest.raises(
        ParityError, match=r"^export: .* differ by \S+ at batch size 1, length 8, more than parity_atol"
    ):
        export.run(model, options(parity_atol=atol), context(tmp_path))
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("model.onnx", b"earlier")]


def test_weights_that_do_not_fit_into_one_file_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_MOST_BYTES", 1000)
    model = vit(1)
    export.run(model, options(), context(tmp_path))
    moved = (tmp_path / "model.onnx").rename(tmp_path / "other.onnx")
    assert (tmp_path / "model.onnx.data").stat().st_size > 1000
    assert_same_logits(OnnxGraph(moved, model.task), model)


def test_a_network_that_torch_cannot_export_is_named(tmp_path):
    model = vit(1)
    model.net.classifier.forward = lambda x: torch.from_numpy(np.linalg.inv(x.numpy()))
    with pytest.raises(InputError, match=r"^export: torch cannot export ViTForImageClassification at opset 23"):
        export.run(model, options(), context(tmp_path))


@pytest.mark.parametrize("opset", [17, 24, "best"])
def test_opsets_that_are_not_written_are_refused(opset):
    with pytest.raises(ValidationError, match="opset"):
        options(opset=opset)
