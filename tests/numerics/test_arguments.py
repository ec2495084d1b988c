import math

import pytest
import torch

from compressor.numerics import arguments


@pytest.mark.parametrize(
    ("radius", "words"),
    [(-1.0, "must be >= 0, got -1.0"), (math.nan, "must be >= 0, got nan"), (torch.ones(2), "shape")],
)
def test_a_bad_radius_is_refused(radius, words):
    with pytest.raises(ValueError, match=f"radius: .*{words}"):
        arguments.as_radius(radius, torch.ones(3, 4).double())


def test_a_radius_per_batch_item_is_shaped_against_the_groups():
    radii = arguments.as_radius(torch.tensor([1.0, 2.0]), torch.ones(2, 5).double())
    assert isinstance(radii, torch.Tensor)
    assert radii.tolist() == [[1.0], [2.0]]
    assert arguments.as_radius(3.0, torch.ones(2, 5).double()) == 3.0


def test_weights_are_one_by_default():
    assert arguments.as_weights(None, torch.zeros(2, 3).double()).tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match=r"weights: must have the shape \(2, 3\), got \(2,\)"):
        arguments.as_weights(torch.ones(2), torch.zeros(2, 3).double())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(bad):
    arguments.require_finite(torch.ones(3))
    with pytest.raises(ValueError, match="matrix: entries must be finite"):
        arguments.require_finite(torch.tensor([1.0, bad]))
