import math

import hypothesis.extra.numpy as hnp
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.numerics import simplex

settings.register_profile("numerics", deadline=None)
settings.load_profile("numerics")

heights = hnp.arrays(np.float64, hnp.array_shapes(max_dims=2, max_side=9), elements=st.floats(0, 1e6)).map(
    torch.from_numpy
)


@given(heights=heights, volume=st.floats(0, 1e7), data=st.data())
def test_lowered_heights_hold_the_volume(heights, volume, data):
    masses = torch.from_numpy(data.draw(hnp.arrays(np.float64, heights.shape, elements=st.floats(0.1, 10))))
    lowered, was_more = simplex.lower(heights, masses, torch.tensor(volume, dtype=torch.float64))
    assert (lowered >= 0).all()
    held, had = (masses * lowered).sum(-1), (masses * heights).sum(-1)
    torch.testing.assert_close(held, had.clamp(max=volume), rtol=1e-12, atol=1e-9)
    atol = 1e-14 * float(heights.amax())  # a level is as exact as the heights it lies in
    step = heights - lowered  # the same for all that are left, and no less than the others
    assert (step <= step.amax(-1, keepdim=True)).all()
    left = torch.where(lowered > 0, step, step.amax(-1, keepdim=True))
    torch.testing.assert_close(left, step.amax(-1, keepdim=True).expand_as(left), rtol=1e-12, atol=atol)
    assert (was_more[..., 0] | (had <= volume * (1 + 1e-12) + 1e-9)).all()


def test_a_small_volume_under_great_heights_keeps_its_digits():
    lowered, _ = simplex.lower(torch.full((1000,), 1e6, dtype=torch.float64), None, torch.tensor(1e-9).double())
    torch.testing.assert_close(lowered, torch.full((1000,), 1e-12, dtype=torch.float64), rtol=1e-6, atol=0)


def test_no_subset_proposes_too_much():
    generator = torch.Generator().manual_seed(0)
    heights, masses = (torch.rand(50, generator=generator, dtype=torch.float64) for _ in range(2))
    volume = torch.tensor(2.0).double()
    level = (heights - simplex.lower(heights, masses, volume)[0]).amax()
    for share in (0.1, 0.5, 0.9, 0.99):
        held = torch.rand(50, generator=generator) < share
        assert simplex.propose(heights, masses, volume, held) <= level * (1 + 1e-12)
    torch.testing.assert_close(simplex.propose(heights, masses, volume, heights > level)[0], level)


def test_shrink_knows_no_limit_inside():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    shrunk = simplex.shrink(values, torch.tensor([3.0, 3.0]), None)
    assert shrunk.tolist() == [[math.inf, math.inf], [1.0, 2.0]]
    assert simplex.ratio(shrunk, values).tolist() == [[1.0, 1.0], [1 / 3, 0.5]]


def test_a_value_at_the_threshold_is_exactly_zero():
    """However many values there are, and whatever their sum rounds to."""
    for n in (3, 100, 10_000):
        for seed in range(20):
            values = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).exp()
            for sparsity in (0.3, 0.7, 0.95):
                radius = simplex.radius_for(values, None, sparsity)
                assert int((simplex.shrink(values, radius, None) == 0).sum()) == round(sparsity * n)


def test_empty_vectors_are_inside():
    empty = torch.zeros(2, 0, dtype=torch.float64)
    assert simplex.shrink(empty, 1.0, None).shape == (2, 0)
    assert simplex.peak(empty).tolist() == [0.0, 0.0]
    assert simplex.total(empty, None).tolist() == [0.0, 0.0]
