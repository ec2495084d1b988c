"""Products of sparse factors as layers: they compute the same, keep their zeros, and export with plain operators."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transforms.planted import hidden, product, transform

from compressor import transforms
from compressor.graphs.rewrite import rewrite_
from compressor.model.quiet import exporter_quiet
from compressor.nn.multiplying import multiplying

OPERATORS = {"MatMul", "Reshape", "Transpose", "Add"}


def exported(layer, inputs, file):
    with exporter_quiet():
        program = torch.onnx.export(layer, (inputs,), input_names=["x"], opset_version=23, verbose=False)
    assert program is not None
    rewrite_(program.model)
    program.save(file)
    return file


def products(name):
    if name == "butterfly":
        return transforms.butterfly(transform("hadamard", 16).float())
    if name == "rectangular":
        pattern = [(1, 4, 3, 6), (3, 6, 5, 1)]
        return transforms.butterfly(product(0, seed=3, pattern=pattern).float(), pattern=pattern)
    if name == "recovered":
        return transforms.recover(hidden(transform("hadamard", 16), seed=1).float())
    matrix = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    return transforms.hierarchical(matrix, n_factors=3, n_nonzeros=60, n_sweeps=10)


@pytest.mark.parametrize("name", ["butterfly", "rectangular", "recovered", "palm"])
def test_a_product_is_exported_and_computes_the_same(name, tmp_path):
    found = products(name)
    bias = torch.arange(float(found.factors[0].shape[0]))
    layer = multiplying(found, bias).eval()
    inputs = torch.randn(2, 3, found.factors[-1].shape[1], generator=torch.Generator().manual_seed(1))
    expected = inputs @ found.dense().T + bias
    torch.testing.assert_close(layer(inputs), expected, rtol=1e-5, atol=1e-5)
    file = exported(layer, inputs, tmp_path / "layer.onnx")
    assert {node.op_type for node in onnx.load(file).graph.node} <= OPERATORS
    (outputs,) = onnxruntime.InferenceSession(file).run(None, {"x": inputs.numpy()})
    np.testing.assert_allclose(outputs, expected.detach().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["butterfly", "rectangular"])
def test_a_known_pattern_has_a_parameter_for_each_nonzero(name):
    found = products(name)
    assert sum(each.numel() for each in multiplying(found).parameters()) == found.n_nonzeros


@pytest.mark.parametrize("name", ["recovered", "palm"])
def test_other_factors_are_dense_and_training_keeps_their_zeros(name):
    found = products(name)
    layer = multiplying(found)
    assert sum(each.numel() for each in layer.parameters()) == sum(each.numel() for each in found.factors)
    layer(torch.ones(1, found.factors[-1].shape[1])).square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is not None
        assert parameter.grad.any()
        assert not parameter.grad[parameter == 0].any()


def test_complex_products_and_batches_are_refused():
    with pytest.raises(
        ValueError, match=r"^product: must be real, and of one matrix, got \[\(\(4, 4\), 'torch.complex128"
    ):
        multiplying(transforms.butterfly(transform("dft", 4)))
    batch = transforms.hierarchical(torch.ones(2, 4, 4), n_factors=2, n_nonzeros=8)
    with pytest.raises(ValueError, match=r"^product: must be real, and of one matrix, got \[\(\(2, 4, 4\), "):
        multiplying(batch)
