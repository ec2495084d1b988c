"""Layers that are learned from data: their starts, what training keeps, and that they are factorized layers."""

import copy
from functools import partial
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from compressor.factorizations import kronecker_sparse, monarch, second_moment
from compressor.graphs.rewrite import rewrite_
from compressor.model.quiet import exporter_quiet
from compressor.nn import Butterfly, FactorizedConv1x1, FactorizedLinear, Monarch, ProductOfSparse, from_spec
from compressor.numerics.divisors import deformable_pattern

LAYERS: dict[str, partial[Any]] = {
    "butterfly": partial(Butterfly, 64, 64),
    "deformable butterfly": partial(Butterfly, 48, 96, rank=2),
    "narrow butterfly": partial(Butterfly, 96, 10),
    "chain": partial(Butterfly, 36, 24, pattern=[(1, 4, 3, 6), (3, 6, 12, 1)]),
    "monarch": partial(Monarch, 64, 32, rank=3),
    "monarch of other blocks": partial(Monarch, 30, 42, rank=2, blocks=(7, 5)),
    "two sparse factors": partial(ProductOfSparse, 64, 96, n_nonzeros=640),
    "three sparse factors": partial(ProductOfSparse, 96, 64, n_nonzeros=1000, n_factors=3),
}
OPERATORS = {"MatMul", "Reshape", "Transpose", "Add"}
each_layer = pytest.mark.parametrize("name", LAYERS)


def made(name, **more):
    torch.manual_seed(0)
    return LAYERS[name](**more)


@each_layer
def test_a_random_start_keeps_the_scale_of_independent_inputs(name):
    """Over several starts: of a butterfly each output is as large as the inputs, of the sparse ones on average."""
    torch.manual_seed(0)
    squares = torch.stack([LAYERS[name]().fold().weight.detach().square().sum(dim=1).mean() for _ in range(8)])
    assert float(squares.mean()) == pytest.approx(1.0, rel=0.2)


def test_a_square_butterfly_starts_as_an_orthogonal_matrix():
    weight = made("butterfly", dtype=torch.float64).fold().weight.detach()
    torch.testing.assert_close(weight @ weight.T, torch.eye(64, dtype=torch.float64))


@each_layer
def test_it_takes_the_place_of_a_linear_layer(name):
    layer = made(name)
    dense, inputs = nn.Linear(layer.in_features, layer.out_features), torch.randn(5, layer.in_features)
    assert layer(inputs).shape == dense(inputs).shape
    torch.testing.assert_close(layer.fold()(inputs), layer(inputs), rtol=0, atol=1e-5)
    assert made(name, bias=False).bias is None
    assert made(name, dtype=torch.float64)(inputs.double()).dtype == torch.float64
    with torch.random.fork_rng():
        again = made(name)
    assert all(torch.equal(*pair) for pair in zip(layer.parameters(), again.parameters(), strict=True))


@each_layer
def test_it_is_saved_and_loaded_as_a_factorized_layer(name):
    layer, inputs = made(name).eval(), torch.randn(2, 3, LAYERS[name].args[0])
    again = from_spec(layer.spec())
    again.load_state_dict(layer.state_dict())
    assert type(again) is FactorizedLinear
    assert torch.equal(again.eval()(inputs), layer(inputs))
    assert torch.equal(copy.deepcopy(layer)(inputs), layer(inputs))


@each_layer
def test_training_lowers_the_loss_and_keeps_the_pattern(name):
    layer = made(name)
    torch.manual_seed(1)
    inputs = torch.randn(64, layer.in_features)
    target = inputs @ torch.randn(layer.in_features, layer.out_features) / layer.in_features**0.5
    zeros = [factor == 0 for factor in layer.factors()]
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        loss = (layer(inputs) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(factor == 0, old) for factor, old in zip(layer.factors(), zeros, strict=True))
    assert any(bool(old.any()) for old in zeros) == name.endswith("sparse factors")


def test_a_butterfly_learns_a_planted_one_from_data():
    torch.manual_seed(3)
    target, layer = Butterfly(16, 16, dtype=torch.float64), Butterfly(16, 16, dtype=torch.float64)
    inputs = torch.randn(200, 16, dtype=torch.float64)
    wanted = target(inputs).detach()
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = (layer(inputs) - wanted).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert closure().item() < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_projected_start_finds_what_was_planted(dtype):
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for layer, again in (
        (Butterfly(32, 64, dtype=dtype), Butterfly.from_linear),
        (Monarch(32, 64, rank=2, dtype=dtype), partial(Monarch.from_linear, rank=2)),
    ):
        dense = layer.fold().eval()
        found: Any = again(dense)
        assert type(found) is type(layer)
        assert (found.training, found.weight.dtype) == (False, dtype)
        torch.testing.assert_close(found.fold().weight, dense.weight, rtol=0, atol=tolerance)
        torch.testing.assert_close(found.bias, dense.bias, rtol=0, atol=0)


def test_a_projected_start_is_what_the_factorization_finds():
    torch.manual_seed(0)
    linear, moment = nn.Linear(24, 36, bias=False), torch.diag(torch.rand(24)) + torch.ones(24, 24)
    metric = second_moment(moment)
    with torch.no_grad():
        pattern = deformable_pattern((36, 24))
        factors = kronecker_sparse.factor(linear.weight, pattern=pattern, rank=2, metric=metric)
        found = Butterfly.from_linear(linear, rank=2, metric=metric)
        torch.testing.assert_close(found.fold().weight, kronecker_sparse.rebuild(factors))
        factors = monarch.factor(linear.weight, rank=2, blocks=(2, 3))
        other = Monarch.from_linear(linear, rank=2, blocks=(2, 3))
        torch.testing.assert_close(other.fold().weight, monarch.rebuild(factors))
        sparse = ProductOfSparse.from_linear(linear, n_nonzeros=430)
        assert sparse.n_nonzeros == 430
        assert metric.error(linear.weight, sparse.fold().weight) < 0.6
        assert found.bias is None


@pytest.mark.parametrize("name", ["deformable butterfly", "monarch of other blocks", "three sparse factors"])
def test_onnxruntime_computes_the_same_with_plain_operators(name, tmp_path):
    layer, file = made(name).eval(), tmp_path / "layer.onnx"
    inputs = torch.randn(2, 6, layer.in_features)
    export(layer, inputs, file)
    assert {node.op_type for node in onnx.load(file).graph.node} <= OPERATORS
    check_parity(layer, inputs, file)


def export(layer, inputs, file):
    with exporter_quiet():
        program = torch.onnx.export(
            layer.eval(),
            (inputs,),
            dynamic_shapes=({0: torch.export.Dim.AUTO},),
            input_names=["x"],
            opset_version=23,
            verbose=False,
        )
    assert program is not None
    rewrite_(program.model)
    program.save(file)


def check_parity(layer, inputs, file):
    (found,) = onnxruntime.InferenceSession(file).run(None, {"x": inputs.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), layer(inputs).detach(), rtol=1e-4, atol=1e-5)


@each_layer
def test_a_1x1_convolution_applies_it_to_the_channels(name):
    layer = made(name).eval()
    conv, images = FactorizedConv1x1.from_linear(layer), torch.randn(2, LAYERS[name].args[0], 3, 5)
    expected = layer(images.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(conv(images), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(conv.fold()(images), expected, rtol=1e-4, atol=1e-5)
    again = from_spec(conv.spec())
    again.load_state_dict(conv.state_dict())
    assert type(again) is FactorizedConv1x1
    assert torch.equal(again.eval()(images), conv(images))


def test_onnxruntime_computes_the_same_of_a_1x1_convolution(tmp_path):
    conv, images = FactorizedConv1x1.from_linear(made("butterfly")).eval(), torch.randn(2, 64, 3, 5)
    export(conv, images, tmp_path / "conv.onnx")
    assert {node.op_type for node in onnx.load(tmp_path / "conv.onnx").graph.node} <= OPERATORS
    check_parity(conv, images, tmp_path / "conv.onnx")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Butterfly(8, 8, pattern=[(1, 2, 2, 2)]), r"pattern: is of a matrix of shape \(4, 4\), got \(8, 8\)"),
        (lambda: Butterfly(8, 8, pattern=[(1, 2, 2, 4), (3, 2, 2, 1)]), "neighbours must be chainable"),
        (lambda: Butterfly(8, 8, rank=9), "rank: must be 1 to "),
        (lambda: Monarch(8, 8, blocks=(3, 2)), "blocks: must be two divisors"),
        (lambda: Monarch(8, 8, rank=3), "rank: must be 1 to 2"),
        (lambda: ProductOfSparse(8, 8, n_nonzeros=15), "n_nonzeros: must be >= 16 for one entry in each line, got 15"),
        (lambda: ProductOfSparse(8, 8, n_nonzeros=64, n_factors=1), "n_factors: must be >= 2, got 1"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
