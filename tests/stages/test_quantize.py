from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from transformers import AutoConfig, AutoTokenizer

from compressor import surgery
from compressor.errors import GateMissed, InputError
from compressor.factorizations import monarch, svd
from compressor.files import read_json
from compressor.model import OnnxGraph, Source, load_model, logits_of
from compressor.nn import FactorizedLinear
from compressor.stages import export, quantize


def run(graph, context, **settings):
    return quantize.run(graph, quantize.Options(stage="quantize", **settings), context)


def weights(graph):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(graph.path).graph.initializer}


def nodes(graph, *op_types):
    return [node for node in onnx.load(graph.path).graph.node if node.op_type in op_types]


def assert_near(found, expected, model):
    for batch_size, length in ((1, 1), (1, 17), (3, 8)):
        generator = torch.Generator().manual_seed(length)
        rows = model.task.inputs.example(model.task, model.net.config, batch_size, length, generator)
        torch.testing.assert_close(logits_of(found)(rows), logits_of(expected)(rows), rtol=0, atol=0.02)


@pytest.fixture(scope="module")
def int8(bert_graph, context, tmp_path_factory):
    return run(bert_graph, context(tmp_path_factory.mktemp("quantize")))


def test_it_runs_at_other_shapes_and_stays_near(bert, bert_graph, int8):
    assert_near(int8, bert_graph, bert)


def test_products_and_embeddings_are_eight_bits_and_attention_is_float(bert_graph, int8):
    assert not nodes(int8, "MatMul", "Gemm")
    assert len(nodes(int8, "MatMulInteger")) == len(nodes(bert_graph, "MatMul", "Gemm"))
    assert len(nodes(int8, "DequantizeLinear")) == 3  # of words, positions and token types
    assert len(nodes(int8, "Attention")) == 2
    assert (
        max(weight.size for weight in weights(int8).values() if weight.dtype == np.float32) <= 24
    )  # biases and scales
    onnx.checker.check_model(onnx.load(int8.path), full_check=True)


def test_weights_are_signed_and_every_output_channel_has_a_scale(int8):
    found = weights(int8)
    for node in nodes(int8, "MatMulInteger"):
        weight, scale = found[node.input[1]], found[node.input[1].replace("_quantized", "_scale")]
        assert weight.dtype == np.int8
        assert scale.shape == weight.shape[1:]


def test_no_shape_of_a_float_weight_is_left(int8):
    assert not {value.name for value in onnx.load(int8.path).graph.value_info} & set(weights(int8))


def test_the_folder_is_complete_and_says_where_it_comes_from(bert, int8, context):
    folder, text = int8.path.parent, "a good film"
    assert int8.path.name == "model.onnx"
    assert AutoConfig.from_pretrained(folder).model_type == "bert"
    assert AutoTokenizer.from_pretrained(folder)(text).input_ids == bert.task.processor(text).input_ids
    metadata = {entry.key: entry.value for entry in onnx.load(int8.path).metadata_props}
    assert context(folder).metadata.items() <= metadata.items()
    assert not list(folder.glob("*partial*"))


def test_in_the_folder_of_the_graph_it_stands_beside_it(bert, bert_graph, context, tmp_path):
    copied = OnnxGraph(tmp_path / "model.onnx", bert.task)
    copied.path.write_bytes(bert_graph.path.read_bytes())
    assert run(copied, context(tmp_path)).path == tmp_path / "model-int8.onnx"
    assert copied.path.read_bytes() == bert_graph.path.read_bytes()


def test_reduced_range_takes_seven_bits(bert_graph, int8, context, tmp_path):
    reduced = weights(run(bert_graph, context(tmp_path / "reduced"), reduce_range=True))
    found = weights(int8)
    for node in nodes(int8, "MatMulInteger"):
        assert np.abs(found[node.input[1]]).max() == 127
        assert np.abs(reduced[node.input[1]]).max() <= 64


def test_convolutions_stay_float(vit, context, tmp_path):
    graph = export.run(vit, export.Options(stage="export"), context(tmp_path / "export"))
    int8 = run(graph, context(tmp_path / "quantize"))
    assert nodes(int8, "Conv")
    assert_near(int8, graph, vit)


@pytest.mark.parametrize(("file", "arguments", "n_float"), [(svd, {}, 0), (monarch, {"blocks": (2, 2)}, 2)])
def test_factors_are_eight_bits_but_stacks_of_matrices_stay_float(
    file, arguments, n_float, bert_folder, context, tmp_path
):
    """The quantizer gives a stack one scale for each column, with which onnxruntime does not run it."""
    model = load_model(Source(checkpoint=str(bert_folder), task="text-classification"), None)
    path = "bert.encoder.layer.0.intermediate.dense"
    dense: Any = model.net.get_submodule(path)
    factors = file.factor(dense.weight.detach(), rank=2, **arguments)
    name = file.__name__.rpartition(".")[2]
    surgery.replace_(model.net, path, FactorizedLinear.of(name, file.equation(factors), factors, dense.bias.detach()))
    graph = export.run(model, export.Options(stage="export"), context(tmp_path / "export"))
    int8 = run(graph, context(tmp_path / "quantize"))
    assert len(nodes(int8, "MatMul")) == n_float
    assert len(nodes(int8, "MatMulInteger")) == len(nodes(graph, "MatMul", "Gemm")) - n_float
    assert_near(int8, graph, model)
    onnx.checker.check_model(onnx.load(int8.path), full_check=True)


# Modes other than `dynamic`, and limits.


class Judged:
    """A trainer whose held-out accuracy depends on how many products are integers."""

    def __init__(self, drop, config):
        self.drop, self.config = drop, config

    def calibration_rows(self, options, task):
        for seed in range(options.examples):
            generator = torch.Generator().manual_seed(seed)
            yield task.inputs.example(task, self.config, 1, 6, generator)

    def evaluate(self, graph):
        return {"accuracy_held_out": 0.9 - self.drop * len(nodes(graph, "MatMulInteger"))}


@pytest.fixture
def judged(bert, context, tmp_path):
    def make(drop):
        made = context(tmp_path / "quantize")
        made.__dict__["trainer"] = Judged(drop, bert.net.config)  # a cached property
        return made

    return make


def test_the_worst_layers_stay_in_float_until_the_limit_holds(bert_graph, judged):
    made = judged(drop=0.01)
    graph = run(bert_graph, made, mode="static", calibration={"examples": 4}, max_accuracy_drop=0.085)
    assert len(nodes(graph, "MatMulInteger")) == 8  # of 14: 0.08 lost
    found = read_json(made.folder / "sensitivity.json")
    assert len(found["float_layers"]) == 6
    assert list(found["damage"])[:6] == found["float_layers"]
    assert list(found["damage"].values()) == sorted(found["damage"].values(), reverse=True)
    assert found["accuracy"] == 0.9


def test_where_no_choice_is_within_the_limit_no_file_is_left(bert_graph, judged):
    made = judged(drop=0.01)
    made.trainer.evaluate = lambda graph: {"accuracy_held_out": 0.9 if graph.path == bert_graph.path else 0.5}
    with pytest.raises(GateMissed, match=r"0\.9000 to 0\.5000 with all layers in float too"):
        run(bert_graph, made, mode="static", calibration={"examples": 4}, max_accuracy_drop="1%")
    assert not (made.folder / "model.onnx").exists()
    assert read_json(made.folder / "sensitivity.json")["float_layers"] is None


def test_within_the_limit_nothing_is_left_and_nothing_measured(bert_graph, judged):
    made = judged(drop=0.0)
    graph = run(bert_graph, made, max_accuracy_drop=0.0)
    assert len(nodes(graph, "MatMulInteger")) == 14
    assert not (made.folder / "sensitivity.json").exists()


def test_named_layers_stay_in_float(bert_graph, context, tmp_path):
    graph = run(bert_graph, context(tmp_path / "named"), float_layers=("node_MatMul_3*", "node_MatMul_4*"))
    assert len(nodes(graph, "MatMulInteger")) == 12
    with pytest.raises(InputError, match=r"float_layers: no layer matches 'x\*'; there are 'node_MatMul_37'"):
        run(bert_graph, context(tmp_path / "none"), float_layers=("x*",))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "dynamic", "ranges": "mse"}, "'ranges' is not for mode: dynamic"),
        ({"mode": "static", "bits": 8}, "'bits' is not for mode: static"),
        ({"mode": "weights", "storage_bits": 4}, "'storage_bits' is for integer products"),
        ({"mode": "other"}, "choose from auto, dynamic, static, weights"),
    ],
)
def test_keys_of_other_modes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        quantize.Options(stage="quantize", **settings)


def test_four_bits_make_the_file_smaller_and_run(bert, bert_graph, context, tmp_path):
    whole = run(bert_graph, context(tmp_path / "whole"))
    small = run(bert_graph, context(tmp_path / "small"), embeddings="int4", storage_bits=4)
    sizes = [sum(len(one.raw_data) for one in onnx.load(each.path).graph.initializer) for each in (whole, small)]
    assert sizes[1] < 0.8 * sizes[0]
    generator = torch.Generator().manual_seed(0)
    rows = bert.task.inputs.example(bert.task, bert.net.config, 3, 8, generator)
    torch.testing.assert_close(logits_of(small)(rows), logits_of(bert_graph)(rows), rtol=0, atol=0.3)


def test_auto_takes_the_fastest_file_within_the_limit(bert_graph, judged, monkeypatch):
    made, times = judged(drop=0.001), {"float": 4.0, "dynamic": 2.0, "static": 1.0, "weights": 3.0}
    monkeypatch.setattr("compressor.quantizing.fastest.launch.measure", lambda plan: measured(plan, times))
    graph = run(bert_graph, made, mode="auto", calibration={"examples": 4}, max_accuracy_drop=0.02)
    choice = read_json(made.folder / "choice.json")
    assert (choice["chosen"], graph.precision) == ("static", "int8")
    assert {mode: each["ratios"] for mode, each in choice["candidates"].items()} == {
        mode: {"1x32": time / 4, "1x128": time / 4} for mode, time in times.items()
    }
    assert choice["candidates"]["static"]["accuracy"] == pytest.approx(0.886)
    assert len(nodes(graph, "QuantizeLinear")) > 0  # dynamic int8 has none


def test_auto_takes_the_float_file_where_no_other_is_as_fast(bert_graph, judged, monkeypatch):
    times = {"float": 1.0, "dynamic": 2.0, "static": 2.0, "weights": 3.0}
    monkeypatch.setattr("compressor.quantizing.fastest.launch.measure", lambda plan: measured(plan, times))
    made = judged(drop=0.0)
    graph = run(bert_graph, made, mode="auto", calibration={"examples": 4})
    assert graph.precision == "fp32"
    assert graph.path.read_bytes() == bert_graph.path.read_bytes()


def test_auto_leaves_out_what_misses_the_limit(bert_graph, judged, monkeypatch):
    times = {"float": 4.0, "dynamic": 2.0, "static": 1.0, "weights": 1.0}
    monkeypatch.setattr("compressor.quantizing.fastest.launch.measure", lambda plan: measured(plan, times))
    made = judged(drop=0.0)
    evaluate = made.trainer.evaluate
    made.trainer.evaluate = lambda graph: {"accuracy_held_out": 0.1} if nodes(graph, "MatMulNBits") else evaluate(graph)
    monkeypatch.setattr("compressor.quantizing.work.sensitivity.fewest_left", lambda damage, is_enough: None)
    run(bert_graph, made, mode="auto", calibration={"examples": 2}, max_accuracy_drop=0.01)
    candidates = read_json(made.folder / "choice.json")["candidates"]
    assert "0.9000 to 0.1000" in candidates["weights"]["reason"]
    assert "ratios" not in candidates["weights"]


def measured(plan, times):
    """What the bench would write if it took these times."""

    def entry(name, length):
        ms = times[name]
        own = {"p50_ms": ms, "cpu_ms": ms, "mean_ms": ms, "n_runs": 9, "block_p50_ms": [ms], "block_cpu_ms": [ms]}
        return {"batch_size": 1, "length": length, "threads": 1, **own}

    names = [each["name"] for each in plan["variants"]]
    return {
        "variants": [{"name": name, "bench": [entry(name, length) for length in plan["lengths"]]} for name in names]
    }
