import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from transformers import AutoConfig, AutoTokenizer

from compressor.data import example_inputs
from compressor.model import OnnxGraph, Source, load_model, logits_of
from compressor.stages import export, quantize
from compressor.train import Context

METADATA = {"version": "0.0"}


def context(folder):
    folder.mkdir(exist_ok=True)
    return Context(folder, "key", 0, data=None, originals=None, metadata=METADATA)


def run(graph, folder, **settings):
    return quantize.run(graph, quantize.Options(stage="quantize", **settings), context(folder))


def weights(graph):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(graph.path).graph.initializer}


def op_types(graph):
    return [node.op_type for node in onnx.load(graph.path).graph.node]


@pytest.fixture(scope="module")
def model(bert_folder):
    return load_model(Source(checkpoint=str(bert_folder), task="text-classification"), None)


@pytest.fixture(scope="module")
def graph(model, tmp_path_factory):
    return export.run(model, export.Options(stage="export"), context(tmp_path_factory.mktemp("runs") / "export"))


@pytest.fixture(scope="module")
def int8(graph):
    return run(graph, graph.path.parents[1] / "quantize")


def test_it_runs_at_other_shapes_and_stays_near(model, graph, int8):
    for batch_size, length in ((1, 1), (1, 17), (3, 8)):
        generator = torch.Generator().manual_seed(length)
        rows = example_inputs(model.task, model.net.config, batch_size, length, generator)
        torch.testing.assert_close(logits_of(int8)(rows), logits_of(graph)(rows), rtol=0, atol=0.02)


def test_products_and_embeddings_are_int8_and_attention_is_not(graph, int8):
    found = op_types(int8)
    assert not {"MatMul", "Gemm"} & set(found)
    assert found.count("MatMulInteger") == sum(kind in ("MatMul", "Gemm") for kind in op_types(graph))
    assert found.count("Attention") == 2
    assert found.count("DequantizeLinear") == 3  # of the embeddings: words, positions, token types
    sizes = {name: weight.nbytes for name, weight in weights(int8).items() if weight.dtype == np.float32}
    assert max(sizes.values()) <= 4 * 24  # what is left in float is biases and scales
    onnx.checker.check_model(onnx.load(int8.path), full_check=True)


def test_every_output_channel_has_a_scale(int8):
    found = weights(int8)
    names = [node.input[1] for node in onnx.load(int8.path).graph.node if node.op_type == "MatMulInteger"]
    for name in names:
        assert found[name].dtype == np.int8
        scale = found[name.removesuffix("_quantized") + "_scale"]
        assert scale.shape == found[name].shape[1:]


def test_no_shape_of_a_float_weight_is_left(int8):
    noted = {value.name for value in onnx.load(int8.path).graph.value_info}
    assert not noted & set(weights(int8))


def test_the_folder_is_complete_and_says_where_it_comes_from(model, int8):
    folder = int8.path.parent
    assert int8.path.name == "model.onnx"
    assert AutoConfig.from_pretrained(folder).model_type == "bert"
    assert (
        AutoTokenizer.from_pretrained(folder)("a good film").input_ids == model.task.processor("a good film").input_ids
    )
    assert METADATA.items() <= {entry.key: entry.value for entry in onnx.load(int8.path).metadata_props}.items()
    assert not list(folder.glob("*partial*"))


def test_in_the_folder_of_the_graph_it_stands_beside_it(model, graph, tmp_path):
    copied = OnnxGraph(tmp_path / "model.onnx", model.task)
    copied.path.write_bytes(graph.path.read_bytes())
    beside = run(copied, tmp_path)
    assert beside.path == tmp_path / "model-int8.onnx"
    assert copied.path.read_bytes() == graph.path.read_bytes()


def test_reduced_range_takes_seven_bits(graph, int8, tmp_path):
    reduced = weights(run(graph, tmp_path / "reduced", reduce_range=True))
    largest = [
        (np.abs(weight).max(), np.abs(reduced[name]).max())
        for name, weight in weights(int8).items()
        if weight.ndim == 2 and weight.dtype == np.int8
    ]
    assert set(largest) == {(127, 64)}


def test_images_keep_their_convolution_in_float(tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    config = {"model_type": "vit", "image_size": 8, "patch_size": 4, "num_channels": 1, **sizes}
    model = load_model(Source(config=config, task="image-classification"), ("no", "yes"))
    graph = export.run(model, export.Options(stage="export"), context(tmp_path / "export"))
    int8 = run(graph, tmp_path / "quantize")
    assert "Conv" in op_types(int8)
    rows = example_inputs(model.task, model.net.config, 3, 0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(logits_of(int8)(rows), logits_of(graph)(rows), rtol=0, atol=0.02)
