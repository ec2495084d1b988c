"""Chains of convolutions that compute the factors of a kernel, against the dense convolution of the rebuilt kernel."""

import pytest
import torch
from torch import nn

from compressor.factorizations import Equation
from compressor.nn import FactorizedConv2d, from_spec
from compressor.nn.convolution import AXES

SIZES = {"o": 6, "i": 5, "h": 3, "w": 3, "a": 4, "b": 2, "r": 7, "x": 3, "y": 4, "z": 2}
TERMS = {
    "tucker": ("oa", "abhw", "bi"),
    "cp": ("or", "ir", "hr", "wr"),
    "cp of three": ("or", "ir", "hwr"),
    "channels": ("or", "rihw"),
    "space": ("orw", "rih"),
    "train": ("ix", "xhy", "ywz", "zo"),
}
SETTINGS = [
    {"stride": 2, "padding": 1},
    {"padding": "same"},
    {"stride": (1, 2), "padding": (0, 2), "dilation": (2, 1), "bias": False},
]


def made(name, sizes=SIZES, **settings):
    equation = Equation((TERMS[name],), AXES)
    factors = tuple(torch.randn([sizes[letter] for letter in letters], dtype=torch.float64) for letters in TERMS[name])
    dense = nn.Conv2d(sizes["i"], sizes["o"], (sizes["h"], sizes["w"]), **settings).double()
    dense.weight.data = equation.rebuild(factors)
    return FactorizedConv2d.of(name, equation, factors, dense), factors, dense


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("name", TERMS)
def test_it_computes_its_kernel(name, settings):
    layer, factors, dense = made(name, **settings)
    images = torch.randn(2, 5, 9, 11, dtype=torch.float64)
    torch.testing.assert_close(layer(images), dense(images))
    torch.testing.assert_close(layer.fold()(images), dense(images))
    assert all(torch.equal(given, own) for given, own in zip(factors, layer.factors(), strict=True))
    again = from_spec(layer.spec()).double()
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(images), layer(images))


def test_a_kernel_of_one_pixel_moves_with_its_first_factor():
    layer, _, dense = made("channels", SIZES | {"h": 1, "w": 1}, stride=2)
    images = torch.randn(1, 5, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(images), dense(images))


def test_what_is_no_chain_of_convolutions_is_refused():
    with pytest.raises(ValueError, match="axes o, i, h, w"):
        FactorizedConv2d("x", Equation((("ir", "rj"),), ("i", "j")), SIZES | {"j": 3}, {})
    with pytest.raises(ValueError, match="groups"):
        FactorizedConv2d.of("x", Equation((("oihw",),), AXES), (torch.randn(4, 2, 3, 3),), nn.Conv2d(4, 4, 3, groups=2))
