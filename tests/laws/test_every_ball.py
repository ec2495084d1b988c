"""Laws that every file in compressor/balls obeys; a new ball is found and tested by itself."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor import balls
from compressor.plugins import discover

settings.register_profile("laws", deadline=None)  # the first call of a torch kernel is slow
settings.load_profile("laws")

BALLS = discover(balls)
EXACT = [name for name, ball in BALLS.items() if ball.EXACT]

shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12)
entries = st.floats(-1e3, 1e3, width=32)
matrices = hnp.arrays(np.float64, shapes, elements=entries).map(torch.from_numpy)
radii = st.floats(1e-3, 1e4)


@pytest.mark.parametrize("name", BALLS)
@given(matrix=matrices, radius=radii)
def test_lands_in_the_ball_and_stays(name, matrix, radius):
    ball = BALLS[name]
    once = ball.project(matrix, radius)
    assert ball.norm(once) <= radius * (1 + 1e-9)
    torch.testing.assert_close(ball.project(once, radius), once, rtol=0, atol=1e-9 * radius)


@pytest.mark.parametrize("name", BALLS)
@given(matrix=matrices, radius=radii)
def test_never_flips_a_sign_or_grows_a_weight(name, matrix, radius):
    projected = BALLS[name].project(matrix, radius)
    assert (projected * matrix >= 0).all()
    assert (projected.abs() <= matrix.abs() * (1 + 1e-12)).all()


@pytest.mark.parametrize("name", EXACT)
@given(matrix=matrices, radius=radii)
def test_exact_means_nearest(name, matrix, radius):
    """P is nearest to M exactly when <M - P, P> = radius * dual_norm(M - P)."""
    ball = BALLS[name]
    nearest = ball.project(matrix, radius)
    gap = matrix - nearest
    torch.testing.assert_close((gap * nearest).sum(), radius * ball.dual_norm(gap), rtol=1e-6, atol=1e-6)
