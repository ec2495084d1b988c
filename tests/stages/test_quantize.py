from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from transformers import AutoConfig, AutoTokenizer

from compressor import surgery
from compressor.factorizations import monarch, svd
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
