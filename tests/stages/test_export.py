import copy
import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import onnxruntime
import pytest
import tiny
import torch
from pydantic import ValidationError
from transformers import AutoConfig, AutoTokenizer
from transformers.exporters import ExportedModel, OnnxConfig, OnnxExporter

from compressor import surgery
from compressor.errors import InputError, ParityError
from compressor.model import Model, OnnxGraph, Source, Task, load_model, logits_of, outputs_of
from compressor.stages import export, quantize

PAGE = Path(__file__).parents[2] / "docs/explanation/export.md"


def options(**settings):
    return export.Options(stage="export", **settings)


def assert_same_logits(graph, model):
    for batch_size, length in ((1, 1), (2, 5), (7, 19)):
        generator = torch.Generator().manual_seed(length)
        rows = model.task.inputs.example(model.task, model.net.config, batch_size, length, generator)
        torch.testing.assert_close(logits_of(graph)(rows), logits_of(model)(rows), rtol=1e-5, atol=1e-6)


@pytest.fixture
def distilbert(bert_folder):
    config = {"model_type": "distilbert", "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 12, "vocab_size": 32}
    return load_model(Source(config=config, processor=str(bert_folder), task="text-classification"), ("no", "yes"))


def test_onnxruntime_gives_the_logits_of_torch_at_other_shapes_and_under_padding(bert, bert_graph):
    assert_same_logits(bert_graph, bert)


@pytest.mark.slow
@pytest.mark.parametrize("opset", ["auto", 18])
@pytest.mark.parametrize("family", ["bert", "distilbert", "vit"])
def test_every_family_exports_at_the_best_opset_and_for_old_runtimes(family, opset, request, context, tmp_path):
    model = request.getfixturevalue(family)
    graph = export.run(model, options(opset=opset), context(tmp_path))
    assert_same_logits(graph, model)
    found = onnx.load(graph.path).graph
    shapes = {value.name: [each.dim_value for each in value.type.tensor_type.shape.dim] for value in found.value_info}
    attended = [shapes[node.output[0]] for node in found.node if node.op_type == "Attention"]
    n_layers = len(model.arch.blocks(model.net))
    assert len(attended) == (n_layers if opset == "auto" else 0)
    assert opset == 18 or attended[-1][1] == 1  # row: of the last layer, one is read


def test_ragged_and_empty_widths_export(bert, context, tmp_path):
    model = dataclasses.replace(bert, net=copy.deepcopy(bert.net))
    widths = {"layer.0.heads": 3, "layer.0.ffn": 7, "layer.1.heads": 0, "layer.1.ffn": 0}
    surgery.resize_(model.net, model.arch, widths)
    assert_same_logits(export.run(model, options(), context(tmp_path)), model)


def test_a_padded_sentence_has_the_logits_it_has_alone(bert_graph):
    words = torch.randint(5, 20, (1, 9), generator=torch.Generator().manual_seed(1))
    nothing = torch.zeros(1, 4, dtype=torch.long)
    longer = torch.cat([words, nothing + 7], dim=1)  # words under the padding: they must not matter
    mask = torch.cat([torch.ones_like(words), nothing], dim=1)
    logits = logits_of(bert_graph)
    alone = logits({"input_ids": words, "attention_mask": torch.ones_like(words), "token_type_ids": words * 0})
    padded = logits({"input_ids": longer, "attention_mask": mask, "token_type_ids": longer * 0})
    torch.testing.assert_close(padded, alone, rtol=1e-5, atol=1e-6)


def test_names_and_axes_are_those_that_optimum_expects(bert_graph):
    session = onnxruntime.InferenceSession(bert_graph.path)
    shapes = {node.name: node.shape for node in (*session.get_inputs(), *session.get_outputs())}
    tokens = ["batch", "length"]
    inputs = {"input_ids": tokens, "attention_mask": tokens, "token_type_ids": tokens}
    assert shapes == {**inputs, "logits": ["batch", 2]}


def test_the_folder_is_complete(bert, bert_graph):
    folder, text = bert_graph.path.parent, "a good film"
    assert AutoConfig.from_pretrained(folder).id2label == {0: "negative", 1: "positive"}
    assert AutoTokenizer.from_pretrained(folder)(text).input_ids == bert.task.processor(text).input_ids
    assert not [file.name for file in folder.iterdir() if "partial" in file.name]


@pytest.mark.parametrize("family", ["bert", "vit", "t5", "autoencoder"])  # the last two have a second output
def test_exporters_of_transformers_open_the_folders_and_give_the_logits_of_onnxruntime(family, context, tmp_path):
    net = tiny.tiny(family)
    model = Model(net, tiny.arch_of(net), Task(*tiny.task_of(net)))
    graph = export.run(model, options(), context(tmp_path / "export"))
    int8 = quantize.run(graph, quantize.Options(stage="quantize"), context(tmp_path / "quantize"))
    rows = tiny.inputs(net)
    for exported in (graph, int8):
        opened = ExportedModel.from_pretrained(exported.path.parent)
        found = opened(**rows)
        assert type(found) is type(net(**rows))
        for name, values in outputs_of(exported)(rows).items():
            assert torch.equal(found[name], values)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # of their exporter
def test_the_description_for_transformers_matches_the_one_of_its_own_exporter(bert, bert_graph, tmp_path):
    rows = bert.task.inputs.example(bert.task, bert.net.config, 2, 6, torch.Generator().manual_seed(0))
    OnnxExporter().export(bert.net, rows, OnnxConfig(dynamic=True)).save_pretrained(tmp_path)
    theirs, ours = (json.loads((folder / "export.json").read_text()) for folder in (tmp_path, bert_graph.path.parent))
    assert ours.keys() == theirs.keys()
    theirs, ours = (found["components"]["model"]["metadata"] for found in (theirs, ours))
    assert ours.keys() == theirs.keys()
    assert ours["packages"]["torch"] == theirs["packages"]["torch"]
    differ = {name for name in ours if ours[name] != theirs[name]}
    assert differ == {"packages", "export_config"}
    assert OnnxConfig.from_dict(ours["export_config"]).opset_version == 23


def test_parity_says_what_was_compared(bert_graph):
    parity = json.loads((bert_graph.path.parent / "parity.json").read_text())
    shapes = [(check["batch_size"], check["length"]) for check in parity["checks"]]
    assert shapes[:4] == [(1, 8), (1, 32), (3, 8), (3, 32)]
    assert shapes[4] == (1, 32)  # and the three texts of the last batch, each alone
    assert len({length for _, length in shapes[4:7]}) == 3
    assert shapes[7:] == [(1, 128)], "the longest text that the network reads"
    assert parity["opset"] == 23
    assert parity["max_abs_diff"] == max(check["max_abs_diff"] for check in parity["checks"]) < 1e-5


def test_the_file_says_where_it_comes_from_and_nothing_of_this_machine(bert_graph, context):
    proto = onnx.load(bert_graph.path)
    assert {entry.key: entry.value for entry in proto.metadata_props} == context(bert_graph.path.parent).metadata
    assert str(Path(torch.__file__).parents[1]).encode() not in bert_graph.path.read_bytes()
    onnx.checker.check_model(proto, full_check=True)


def test_the_net_is_left_as_it_was(vit, context, tmp_path):
    vit.net.train()
    before = {name: tensor.clone() for name, tensor in vit.net.state_dict().items()}
    export.run(vit, options(opset=18), context(tmp_path))
    assert all(module.training for module in vit.net.modules())
    assert vit.net.config._attn_implementation == "sdpa"
    assert all(torch.equal(before[name], tensor) for name, tensor in vit.net.state_dict().items())


def test_a_family_may_name_its_own_opset(vit, context, tmp_path):
    model = dataclasses.replace(vit, arch=SimpleNamespace(OPSET=18))
    graph = export.run(model, options(), context(tmp_path))
    assert {entry.version for entry in onnx.load(graph.path).opset_import} == {18}


@pytest.mark.parametrize(("bias", "atol"), [(0.0, 1e-30), (float("nan"), 1e-3)])
def test_logits_that_differ_are_an_error_and_leave_the_earlier_file(bias, atol, vit, context, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"earlier")
    vit.net.classifier.bias.data.fill_(bias)
    with pytest.raises(
        ParityError, match=r"^export: .* differ by \S+ at batch size [13], length \d+, more than parity_atol"
    ):
        export.run(vit, options(parity_atol=atol), context(tmp_path))
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("model.onnx", b"earlier")]


def test_weights_that_do_not_fit_into_one_file_lie_beside_it(vit, context, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_MOST_BYTES", 1000)
    export.run(vit, options(), context(tmp_path))
    renamed = (tmp_path / "model.onnx").rename(tmp_path / "other.onnx")
    assert (tmp_path / "model.onnx.data").stat().st_size > 1000
    assert_same_logits(OnnxGraph(renamed, vit.task), vit)


def test_a_network_that_torch_cannot_export_is_named(vit, context, tmp_path):
    vit.net.classifier.forward = lambda hidden: hidden if hidden.sum() > 0 else -hidden
    with pytest.raises(InputError, match=r"^export: torch cannot export ViTForImageClassification at opset 23 \("):
        export.run(vit, options(), context(tmp_path))


def test_a_network_without_attention_exports_at_any_opset(context, tmp_path):
    sizes = {"embedding_size": 4, "hidden_sizes": [4], "depths": [1], "image_size": 8, "num_channels": 1}
    resnet = load_model(Source(config={"model_type": "resnet", **sizes}, task="image-classification"), ("no", "yes"))
    assert_same_logits(export.run(resnet, options(opset=23), context(tmp_path)), resnet)


@pytest.mark.parametrize("opset", [17, 24, "best"])
def test_opsets_that_are_not_written_are_refused(opset):
    with pytest.raises(ValidationError, match="opset"):
        options(opset=opset)


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
def test_the_python_in_the_guide_runs(block, bert, bert_graph):
    """On a folder of this test in place of the flagship's."""
    found: dict[str, Any] = {}
    assert 'folder = "runs/sst2_l1inf/05-quantize"' in block
    exec(block.replace("runs/sst2_l1inf/05-quantize", str(bert_graph.path.parent)), found)
    assert tuple(found["logits"].shape) == (1, 2)
    expected = logits_of(bert)({name: torch.as_tensor(value) for name, value in found["rows"].items()})
    torch.testing.assert_close(torch.as_tensor(found["logits"]), expected, rtol=0, atol=1e-5)
