"""Laws that every file in compressor/quantizers obeys: on an encoder, a ViT, a CNN and a network for tables."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx_files import model_of
from tiny import bare_context, tiny

from compressor import quantizers
from compressor.errors import InputError
from compressor.graphs.prepare import float_graph
from compressor.plugins import discover
from compressor.quantizers import Settings
from compressor.stages import export

QUANTIZERS: dict[str, Any] = discover(quantizers, quantizers.Quantizer)
FAMILIES = ("bert", "vit", "resnet", "mlp")

every_quantizer = pytest.mark.parametrize("name", QUANTIZERS)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """Export a tiny network of each family, and draw rows for it."""
    made = {}
    for family in FAMILIES:
        model = model_of(tiny(family))
        file = export.run(model, export.Options(stage="export"), bare_context(tmp_path_factory.mktemp(family))).path
        rows = [{name: tensor.numpy() for name, tensor in row.items()} for row in _rows(model)]
        made[family] = (file, rows)
    return made


def _rows(model):
    import torch

    for seed in range(24):
        generator = torch.Generator().manual_seed(seed)
        yield model.task.inputs.example(model.task, model.net.config, 1, 4 + seed % 5, generator)


def outputs(proto, rows):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return [session.run(None, {name: row[name] for name in names})[0] for row in rows]


def gap(found, expected):
    """Relative error of the outputs of all rows."""
    found, expected = np.concatenate(found), np.concatenate(expected)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@every_quantizer
@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_stay_near_and_keep_their_names(name, family, graphs):
    file, rows = graphs[family]
    original = float_graph(file)
    made = QUANTIZERS[name].quantize(float_graph(file), Settings(rows=rows, bits=8))
    assert [each.name for each in made.graph.input] == [each.name for each in original.graph.input]
    assert [each.name for each in made.graph.output] == [each.name for each in original.graph.output]
    assert gap(outputs(made, rows), outputs(original, rows)) < 0.05
    assert made.ByteSize() < original.ByteSize() or family != "bert"


@every_quantizer
def test_a_layer_that_is_left_stays_as_it_is(name, graphs):
    file, rows = graphs["bert"]
    quantizer = QUANTIZERS[name]
    layers = quantizer.layers(float_graph(file))
    assert len(layers) == len(set(layers)) == 14  # six of each block, the pooler and the classifier
    kept = "bert.encoder.layer.1.intermediate.dense"
    made = quantizer.quantize(float_graph(file), Settings(rows=rows, left=frozenset({kept})))
    whole = quantizer.quantize(float_graph(file), Settings(rows=rows))
    assert _n_float_products(made) == _n_float_products(whole) + 1
    assert gap(outputs(made, rows), outputs(float_graph(file), rows)) > 0  # the others are quantized


def _n_float_products(proto):
    return sum(node.op_type in ("MatMul", "Gemm") for node in proto.graph.node)


@every_quantizer
def test_it_is_the_same_again(name, graphs):
    file, rows = graphs["vit"]
    first, second = (QUANTIZERS[name].quantize(float_graph(file), Settings(rows=rows)) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", [name for name, each in QUANTIZERS.items() if "rows" in each.TAKES])
def test_calibration_rows_are_needed_and_must_fit(name, graphs):
    file, rows = graphs["bert"]
    with pytest.raises(InputError, match="no row was given"):
        QUANTIZERS[name].quantize(float_graph(file), Settings())
    with pytest.raises(InputError, match="does not fit the graph"):
        QUANTIZERS[name].quantize(float_graph(file), Settings(rows=graphs["vit"][1]))
    assert rows


@pytest.mark.parametrize("name", [name for name, each in QUANTIZERS.items() if "rows" in each.TAKES])
@pytest.mark.parametrize("ranges", ["percentile", "entropy", "mse"])
def test_every_way_to_find_ranges_stays_near(name, ranges, graphs):
    file, rows = graphs["resnet"]
    made = QUANTIZERS[name].quantize(float_graph(file), Settings(rows=rows, ranges=ranges))
    assert gap(outputs(made, rows), outputs(float_graph(file), rows)) < 0.2  # entropy clips
