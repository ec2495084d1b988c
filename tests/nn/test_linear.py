"""The layer that computes the factors of any equation, against the dense layer of its rebuilt weight."""

import itertools
import math

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from compressor.factorizations import Equation
from compressor.graphs.rewrite import rewrite_
from compressor.model.quiet import exporter_quiet
from compressor.nn import FactorizedEmbedding, FactorizedLinear, from_spec

EQUATIONS = {  # letters of the factors, of the rows and columns, and sizes
    "low rank": ((("ir", "rj"),), ("i", "j"), {"i": 6, "r": 3, "j": 5}),
    "monarch": ((("oimr", "iorn"),), ("om", "in"), {"o": 2, "i": 3, "m": 4, "r": 2, "n": 5}),
    "kronecker": ((("tab", "tcd"),), ("ac", "bd"), {"t": 3, "a": 2, "b": 4, "c": 5, "d": 3}),
    "train": (
        (("pax", "xby", "ycz", "zdq"),),
        ("ab", "cd"),
        {"p": 1, "a": 3, "x": 2, "b": 4, "y": 5, "c": 2, "z": 3, "d": 4, "q": 1},
    ),
    "ring": (
        (("pax", "xby", "ycz", "zdp"),),
        ("ab", "cd"),
        {"p": 2, "a": 3, "x": 2, "b": 4, "y": 5, "c": 2, "z": 3, "d": 4},
    ),
    "cp": ((("ar", "br", "cr", "dr"),), ("ab", "cd"), {"a": 3, "b": 4, "c": 5, "d": 2, "r": 6}),
    "tucker": (
        (("wxyz", "aw", "bx", "cy", "dz"),),
        ("ab", "cd"),
        {"a": 3, "b": 4, "c": 5, "d": 2, "w": 2, "x": 3, "y": 2, "z": 2},
    ),
    "block term": ((("kxy", "kix", "kjy"),), ("i", "j"), {"k": 3, "i": 5, "j": 4, "x": 2, "y": 2}),
    "block diagonal": ((("bij",),), ("bi", "bj"), {"b": 2, "i": 3, "j": 4}),
    "sparse and low rank": ((("ij",), ("ir", "rj")), ("i", "j"), {"i": 4, "j": 5, "r": 2}),
    "butterfly": ((("abm", "bcm", "cdm"),), ("am", "dm"), {"a": 2, "b": 2, "c": 2, "d": 2, "m": 3}),
}
OPERATORS = {"MatMul", "Reshape", "Transpose", "Add"}
each_equation = pytest.mark.parametrize("name", EQUATIONS)


def made(name, dtype=torch.float64):
    """Make the layer of an equation with random factors, and give it with the factors, weight and bias."""
    terms, axes, sizes = EQUATIONS[name]
    equation = Equation(terms, axes, (0,) if name.startswith("sparse") else ())
    generator = torch.Generator().manual_seed(0)
    shapes = [[sizes[letter] for letter in letters] for letters in equation.factors]
    factors = tuple(torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
    weight = equation.rebuild(factors)
    bias = torch.randn(len(weight), generator=generator, dtype=dtype)
    return FactorizedLinear.of(name, equation, factors, bias), factors, weight, bias


@each_equation
@pytest.mark.parametrize("lead", [(5,), (2, 3), (2, 3, 4)])
def test_it_computes_its_weight(name, lead):
    layer, _, weight, bias = made(name)
    inputs = torch.randn(*lead, weight.shape[1], dtype=torch.float64)
    torch.testing.assert_close(layer(inputs), inputs @ weight.T + bias, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.fold()(inputs), inputs @ weight.T + bias, rtol=1e-12, atol=1e-12)
    assert (layer.out_features, layer.in_features) == weight.shape


@each_equation
def test_it_gives_its_factors_and_describes_itself(name):
    layer, factors, weight, _ = made(name)
    assert all(torch.equal(given, own) for given, own in zip(factors, layer.factors(), strict=True))
    again = from_spec(layer.spec()).double()
    again.load_state_dict(layer.state_dict())
    inputs = torch.randn(2, 3, weight.shape[1], dtype=torch.float64)
    assert torch.equal(again(inputs), layer(inputs))


@each_equation
def test_no_order_of_products_would_be_cheaper(name):
    """Against every order of the factors, with the multiplications of each counted from the letters alone."""
    layer, sizes = made(name)[0], EQUATIONS[name][2]
    least = sum(min(costs(term, layer.equation.axes, sizes)) for term in layer.equation.terms)
    assert layer.n_flops(1) == 2 * least
    assert layer.n_flops(7) == 7 * layer.n_flops(1)


def costs(term, axes, sizes):
    """Yield the multiplications of each order in which every factor shares a letter with what came before."""
    for order in itertools.permutations(term):
        have, total = set(axes[1]), 0
        for place, letters in enumerate(order):
            if not have & set(letters):
                break
            later = set(axes[0]).union(*order[place + 1 :])
            total += math.prod(sizes[letter] for letter in have | set(letters))
            have = (have | set(letters)) & later | (have - set(letters))
        else:
            yield total


@each_equation
def test_a_step_of_training_moves_every_factor_but_zeros_that_are_a_pattern(name):
    layer, _, weight, _ = made(name)
    with torch.no_grad():
        layer.get_parameter(layer._names()[0]).flatten()[0] = 0.0
    before = [parameter.clone() for parameter in layer.parameters()]
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    layer.train()(torch.randn(4, weight.shape[1], dtype=torch.float64)).square().sum().backward()
    optimizer.step()
    assert all(not torch.equal(old, new) for old, new in zip(before, layer.parameters(), strict=True))
    first = layer.get_parameter(layer._names()[0]).flatten()[0]
    assert (first == 0) == name.startswith("sparse")


@each_equation
def test_onnxruntime_computes_the_same_with_plain_operators(name, tmp_path):
    layer, _, weight, _ = made(name, torch.float32)
    file, inputs = tmp_path / "layer.onnx", torch.randn(2, 6, weight.shape[1])
    free = ({0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO},)
    with exporter_quiet():
        program = torch.onnx.export(
            layer.eval(), (inputs,), dynamic_shapes=free, input_names=["x"], opset_version=23, verbose=False
        )
    assert program is not None
    rewrite_(program.model)
    program.save(file)
    assert {node.op_type for node in onnx.load(file).graph.node} <= OPERATORS
    session = onnxruntime.InferenceSession(file)
    for shape in ((1, 4), (3, 5)):
        inputs = torch.randn(*shape, weight.shape[1])
        expected = layer(inputs).detach()
        (found,) = session.run(None, {"x": inputs.numpy()})
        torch.testing.assert_close(
            torch.from_numpy(found), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max())
        )


def test_its_axes_are_those_of_single_factors():
    assert made("low rank")[0].axes("out") == {"weight": 0, "bias": 0}
    assert made("low rank")[0].axes("in") == {"weight_0": 1}
    assert all(not made(name)[0].axes(side) for name in ("train", "monarch", "butterfly") for side in ("in", "out"))


def test_what_is_not_connected_or_dangles_is_refused():
    with pytest.raises(ValueError, match="not connected"):
        FactorizedLinear("x", Equation((("ir", "sj"),), ("i", "j")), {"i": 2, "r": 1, "s": 1, "j": 2})
    with pytest.raises(ValueError, match="size must be 1"):
        FactorizedLinear("x", Equation((("ijr",),), ("i", "j")), {"i": 2, "r": 2, "j": 2})


def test_an_embedding_looks_up_rows_of_the_product():
    table = torch.randn(9, 2) @ torch.randn(2, 5)
    left, values, right = torch.linalg.svd(table, full_matrices=False)
    layer = FactorizedEmbedding.of("svd", (left[:, :2] * values[:2], right[:2]), padding_idx=0)
    indices = torch.tensor([[0, 8], [3, 3]])
    torch.testing.assert_close(layer(indices), table[indices])
    torch.testing.assert_close(layer.fold()(indices), table[indices])
    assert isinstance(layer.fold(), nn.Embedding)
    again = from_spec(layer.spec())
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(indices), layer(indices))
