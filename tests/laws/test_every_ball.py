"""Laws that every file in compressor/balls obeys; a new ball is found and tested by itself."""

import inspect
import math
from typing import Any

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

BALLS: dict[str, Any] = discover(balls, balls.Ball)
EXACT = [name for name, ball in BALLS.items() if ball.EXACT]
DIMS: dict[str, Any] = {name: inspect.signature(ball.project).parameters.get("dim") for name, ball in BALLS.items()}
GROUPED = [name for name, dim in DIMS.items() if dim]
SPECTRAL = [name for name, ball in BALLS.items() if ball.ZEROES == "ranks"]  # of singular values, not of entries
BATCHED = GROUPED + SPECTRAL  # the others take tensors of any shape as one vector
SPARSE = [name for name, ball in BALLS.items() if ball.ZEROES != "nothing"]

every_ball = pytest.mark.parametrize("name", BALLS)
every_batched_ball = pytest.mark.parametrize("name", BATCHED)
every_grouped_ball = pytest.mark.parametrize("name", GROUPED)

shapes = hnp.array_shapes(min_dims=2, max_dims=4, min_side=0, max_side=8)
entries = st.floats(-1e3, 1e3, width=32)
tensors = hnp.arrays(np.float64, shapes, elements=entries).map(torch.from_numpy)
radii = st.floats(1e-3, 1e4)


def n_own(name):
    """Dimensions that one ball takes: those before are a batch."""
    return 3 if DIMS[name] and isinstance(DIMS[name].default, tuple) else 2


def outer_dim(name):
    """Axis of the groups that a radius is shared by."""
    return DIMS[name].default[0] if n_own(name) == 3 else DIMS[name].default


def one_item(name, tensor):
    """The first tensor of a batch; zeros for an empty batch."""
    while name in BATCHED and tensor.ndim > n_own(name):
        tensor = tensor[0] if len(tensor) else torch.zeros(tensor.shape[1:], dtype=tensor.dtype)
    return tensor


def random(name, seed=0, dtype=torch.float64):
    """A tensor that fits the ball, of groups that differ in size."""
    generator = torch.Generator().manual_seed(seed)
    shape = (6, 5, 4) if DIMS[name] and n_own(name) == 3 else (6, 20)
    entries, sizes = torch.randn(shape, generator=generator), torch.randn(shape[-1], generator=generator).exp()
    outer = torch.linspace(0.2, 2, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return (entries * sizes * outer).to(dtype)


def fraction(ball, tensor, share):
    return share * float(ball.norm(tensor.double()))


@every_ball
@given(tensor=tensors, radius=radii)
def test_lands_in_the_ball_and_stays(name, tensor, radius):
    ball, tensor = BALLS[name], one_item(name, tensor)
    once = ball.project(tensor, radius)
    assert ball.norm(once) <= radius * (1 + 1e-9)
    torch.testing.assert_close(ball.project(once, radius), once, rtol=0, atol=1e-9 * radius)


@pytest.mark.parametrize("name", [name for name in BALLS if name not in SPECTRAL])
@given(tensor=tensors, radius=radii)
def test_never_flips_a_sign_or_grows_a_weight(name, tensor, radius):
    projected = BALLS[name].project(tensor, radius)
    assert (projected * tensor >= 0).all()
    assert (projected.abs() <= tensor.abs() * (1 + 1e-12)).all()


@pytest.mark.parametrize("name", SPECTRAL)
@given(tensor=tensors, radius=radii)
def test_never_turns_a_singular_vector_or_grows_a_singular_value(name, tensor, radius):
    matrix = one_item(name, tensor)
    projected = BALLS[name].project(matrix, radius)
    values, before = torch.linalg.svdvals(projected), torch.linalg.svdvals(matrix)
    slack = 1e-12 * float(before.sum())
    assert (values <= before + slack).all()
    inner = (matrix * projected).sum()  # largest possible where the vectors are the same
    torch.testing.assert_close(inner, (values * before).sum(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", EXACT)
@given(tensor=tensors, radius=radii)
def test_exact_means_nearest(name, tensor, radius):
    """P is nearest to M exactly when <M - P, P> = radius * dual_norm(M - P)."""
    ball, tensor = BALLS[name], one_item(name, tensor)
    nearest = ball.project(tensor, radius)
    gap = tensor - nearest
    torch.testing.assert_close((gap * nearest).sum(), radius * ball.dual_norm(gap), rtol=1e-6, atol=1e-6)


@every_ball
@given(tensor=tensors, radius=radii)
def test_the_way_and_the_rest_add_up(name, tensor, radius):
    """||M - P|| + ||P|| = ||M||: every ball here shortens, clips or scales the members of a group alike."""
    ball, tensor = BALLS[name], one_item(name, tensor)
    projected = ball.project(tensor, radius)
    total = ball.norm(tensor - projected) + ball.norm(projected)
    torch.testing.assert_close(total, ball.norm(tensor), rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", EXACT)
@given(shape=shapes, radius=radii, data=st.data())
def test_exact_never_expands(name, shape, radius, data):
    pair = hnp.arrays(np.float64, shape, elements=entries).map(torch.from_numpy)
    one, other = one_item(name, data.draw(pair)), one_item(name, data.draw(pair))
    projected = BALLS[name].project(one, radius), BALLS[name].project(other, radius)
    assert torch.dist(*projected) <= torch.dist(one, other) * (1 + 1e-9) + 1e-9


@every_ball
@given(tensor=tensors)
def test_inside_is_left_alone(name, tensor):
    ball, tensor = BALLS[name], one_item(name, tensor)
    radius = float(ball.norm(tensor))
    for outer in (radius, 2 * radius + 1, math.inf):
        assert torch.equal(ball.project(tensor, outer), tensor)


@every_ball
@given(tensor=tensors)
def test_nothing_fits_radius_zero(name, tensor):
    assert not BALLS[name].project(tensor, 0.0).any()


@every_ball
@pytest.mark.parametrize("factor", [1e-12, 1e-7, 1e7, 1e12])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-10), (torch.float32, 2e-6)])
def test_knows_no_unit(name, factor, dtype, rtol):
    ball, tensor = BALLS[name], random(name, dtype=dtype)
    for share in (0.05, 0.3, 0.8):
        radius = fraction(ball, tensor, share)
        expected = ball.project(tensor, radius)
        scaled = ball.project(tensor * factor, radius * factor) / factor
        torch.testing.assert_close(scaled, expected, rtol=0, atol=rtol * float(tensor.abs().max()))


@every_ball
@given(data=st.data())
def test_knows_no_order(name, data):
    ball, tensor = BALLS[name], random(name)
    for axis in (0, -1):
        order = data.draw(st.permutations(range(tensor.shape[axis])))
        shuffled = tensor.index_select(axis, torch.tensor(order))
        radius = fraction(ball, tensor, 0.3)
        expected = ball.project(tensor, radius).index_select(axis, torch.tensor(order))
        torch.testing.assert_close(ball.project(shuffled, radius), expected, rtol=0, atol=1e-12)


@every_ball
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 2e-6), (torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_lower_precision_agrees_with_float64(name, dtype, rtol):
    ball, tensor = BALLS[name], random(name, dtype=dtype)
    for share in (0.02, 0.3, 0.9):
        radius = fraction(ball, tensor, share)
        projected = ball.project(tensor, radius)
        assert projected.dtype == dtype
        expected = ball.project(tensor.double(), radius)
        torch.testing.assert_close(projected.double(), expected, rtol=0, atol=rtol * float(tensor.abs().max()))
        if ball.ZEROES != "nothing":
            assert torch.equal(projected == 0, expected == 0)


@every_ball
def test_any_strides_will_do(name):
    ball, tensor = BALLS[name], random(name)
    radius = fraction(ball, tensor, 0.3)
    expected = ball.project(tensor, radius)
    padded = torch.full([2 * size + 1 for size in tensor.shape], math.nan, dtype=tensor.dtype)
    sliced = padded[tuple(slice(1, None, 2) for _ in tensor.shape)]
    sliced.copy_(tensor)
    for strided in (tensor.mT.contiguous().mT, tensor.transpose(0, -1).contiguous().transpose(0, -1), sliced):
        torch.testing.assert_close(ball.project(strided, radius), expected)
        torch.testing.assert_close(ball.norm(strided), ball.norm(tensor))
        assert ball.project(strided, radius, out=strided) is strided
        torch.testing.assert_close(strided, expected)
    assert padded.isnan().sum() == padded.numel() - sliced.numel()


@every_ball
def test_writes_where_it_is_told(name):
    ball, tensor = BALLS[name], random(name)
    radius = fraction(ball, tensor, 0.3)
    expected, original = ball.project(tensor, radius), tensor.clone()
    assert torch.equal(tensor, original)
    out = torch.empty_like(tensor)
    assert ball.project(tensor, radius, out=out) is out
    assert torch.equal(out, expected)
    inside = ball.project(tensor, 1e9)
    assert inside.data_ptr() != tensor.data_ptr()
    with pytest.raises(ValueError, match="out: must have"):
        ball.project(tensor, radius, out=torch.empty(3, *tensor.shape[1:], dtype=tensor.dtype))
    with pytest.raises(ValueError, match="out: must have"):
        ball.project(tensor, radius, out=torch.empty_like(tensor, dtype=torch.float32))


@every_batched_ball
def test_a_batch_is_many_at_once(name):
    ball = BALLS[name]
    batch = torch.stack([random(name, seed=seed) for seed in range(6)]).unflatten(0, (2, 3))
    radius = 0.3 * ball.norm(batch)
    radius[0, 1] *= 10  # one that is inside
    assert radius.shape == (2, 3)
    projected, common = ball.project(batch, radius), ball.project(batch, float(radius[0, 0]))
    for_half = ball.radius_for(batch, 0.5)
    for at in np.ndindex(2, 3):
        torch.testing.assert_close(projected[at], ball.project(batch[at], float(radius[at])), rtol=0, atol=1e-12)
        torch.testing.assert_close(common[at], ball.project(batch[at], float(radius[0, 0])), rtol=0, atol=1e-12)
        assert float(ball.dual_norm(batch)[at]) == pytest.approx(float(ball.dual_norm(batch[at])), rel=1e-14)
        assert float(for_half[at]) == pytest.approx(ball.radius_for(batch[at], 0.5), rel=1e-12)


@every_grouped_ball
def test_any_axis_may_index_the_groups(name):
    ball, tensor = BALLS[name], random(name)
    radius = fraction(ball, tensor, 0.3)
    given_dim = DIMS[name].default
    dim = tuple(2 - at % 3 for at in given_dim) if n_own(name) == 3 else 0
    turned = tensor.permute(*reversed(range(tensor.ndim)))
    expected, projected = ball.project(tensor, radius), ball.project(turned, radius, dim=dim)
    torch.testing.assert_close(projected.permute(*reversed(range(tensor.ndim))), expected, rtol=0, atol=1e-12)
    assert ball.radius_for(turned, 0.5, dim=dim) == pytest.approx(ball.radius_for(tensor, 0.5), rel=1e-12)
    for function in (ball.norm, ball.dual_norm):
        torch.testing.assert_close(function(turned, dim=dim), function(tensor))


@pytest.mark.parametrize("name", SPARSE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.95, 1.0])
def test_a_radius_for_every_sparsity(name, dtype, sparsity):
    """Of the groups or singular values, or of the entries where the ball knows neither."""
    ball, tensor = BALLS[name], random(name, dtype=dtype)
    if not DIMS[name]:
        tensor = tensor.double()  # an entry at the threshold is zero as far as the sum of all entries is exact
    projected = ball.project(tensor, ball.radius_for(tensor, sparsity))
    is_zero = projected == 0
    if name in SPECTRAL:
        is_zero = torch.linalg.svdvals(projected) <= 1e-14 * float(tensor.norm())
    elif DIMS[name]:
        is_zero = is_zero.movedim(outer_dim(name), 0).flatten(1).all(dim=1)
    assert int(is_zero.sum()) == round(sparsity * is_zero.numel())
    with pytest.raises(ValueError, match="sparsity: must lie in"):
        ball.radius_for(tensor, 1.5)


def weights_for(name, tensor, seed=1):
    """Weights between 1/2 and 2: one per group, or per entry where the ball takes any shape."""
    shape = (tensor.shape[outer_dim(name)],) if DIMS[name] else tensor.shape
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).mul(2).exp2() / 2


WEIGHTED = [name for name in BALLS if "weights" in inspect.signature(BALLS[name].project).parameters]


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_weights_are_those_of_the_norm(name, share):
    ball, tensor = BALLS[name], random(name)
    weights = weights_for(name, tensor)
    radius = share * float(ball.norm(tensor, weights=weights))
    projected = ball.project(tensor, radius, weights=weights)
    assert float(ball.norm(projected, weights=weights)) == pytest.approx(radius, rel=1e-12)
    if ball.EXACT:
        gap = tensor - projected
        certificate = radius * ball.dual_norm(gap, weights=weights)
        torch.testing.assert_close((gap * projected).sum(), certificate, rtol=1e-10, atol=0)
    doubled = ball.project(tensor, 2 * radius, weights=2 * weights)
    torch.testing.assert_close(doubled, projected, rtol=0, atol=1e-12)
    sparse = ball.project(tensor, ball.radius_for(tensor, 0.5, weights=weights), weights=weights)
    assert (sparse == 0).double().mean() >= 0.5
    for bad in (torch.zeros_like(weights), torch.full_like(weights, math.nan), torch.ones(7)):
        with pytest.raises(ValueError, match="weights: must"):
            ball.project(tensor, radius, weights=bad)


COUPLING = [name for name in GROUPED if n_own(name) == 2]


@pytest.mark.parametrize("name", COUPLING)
def test_coupled_tensors_are_one_matrix(name):
    """A query and a bias by rows, an output by columns, in heads of three: as if concatenated."""
    ball, generator = BALLS[name], torch.Generator().manual_seed(0)
    query, bias, output = (
        torch.randn(s, dtype=torch.float64, generator=generator) for s in ((5, 3, 8), (5,), (8, 5, 3))
    )
    column = balls.Coupled((query, bias, output), dims=(0, 0, 1))
    matrix = torch.cat([query.flatten(1).T, bias[None], output.movedim(1, 0).flatten(1).T])
    for function in (ball.norm, ball.dual_norm, lambda each: torch.tensor(ball.radius_for(each, 0.4))):
        torch.testing.assert_close(function(column), function(matrix))
    radius = ball.radius_for(column, 0.4)
    projected = ball.project(column, radius)
    expected = ball.project(matrix, radius)
    torch.testing.assert_close(projected.tensors[0].flatten(1).T, expected[:24])
    torch.testing.assert_close(projected.tensors[1], expected[24])
    torch.testing.assert_close(projected.tensors[2].movedim(1, 0).flatten(1).T, expected[25:])
    assert ball.project(column, radius, out=column) is column
    assert torch.equal(query, projected.tensors[0])


@every_ball
def test_gradient_is_the_exact_jacobian(name):
    ball, tensor = BALLS[name], random(name)[:4, :3]
    tensor[0, 0] = 0.0
    for share in (0.05, 0.4, 0.9, 1.5):
        radius = torch.tensor(fraction(ball, tensor, share), dtype=torch.float64, requires_grad=share < 1)
        inputs = (tensor.clone().requires_grad_(), radius)
        assert torch.autograd.gradcheck(lambda each, size: ball.project(each, size), inputs, atol=1e-6)


@pytest.mark.parametrize("name", WEIGHTED)
def test_gradient_of_the_weights_too(name):
    ball, tensor = BALLS[name], random(name)[:4, :3]
    weights = weights_for(name, tensor)
    radius = 0.4 * float(ball.norm(tensor, weights=weights))
    inputs = (tensor.clone().requires_grad_(), weights.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda each, factors: ball.project(each, radius, weights=factors), inputs, atol=1e-6
    )


@every_ball
def test_gradient_and_out_exclude_each_other(name):
    ball, tensor = BALLS[name], random(name).requires_grad_()
    with pytest.raises(ValueError, match="out: cannot carry a gradient"):
        ball.project(tensor, 1.0, out=torch.empty_like(tensor))
    with torch.no_grad():
        assert ball.project(tensor, 1.0, out=tensor) is tensor


@every_ball
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(name, bad):
    ball, tensor = BALLS[name], random(name)
    original = tensor.clone()
    tensor[1, 2] = bad
    for radius in (0.1, 1e9):
        with pytest.raises(ValueError, match="matrix: entries must be finite"):
            ball.project(tensor, radius)
        ball.project(tensor, radius, check_finite=False)  # whatever comes, it ends
    if ball.ZEROES != "nothing":
        with pytest.raises(ValueError, match="matrix: entries must be finite"):
            ball.radius_for(tensor, 0.5)
    for radius in (-1.0, math.nan):
        with pytest.raises(ValueError, match="radius: must be >= 0"):
            ball.project(original, radius)
    with pytest.raises(ValueError, match="matrix: must be of a floating-point type"):
        ball.project(original.int(), 1.0)


@every_batched_ball
def test_shapes_that_do_not_fit_are_refused(name):
    ball, tensor = BALLS[name], random(name)
    with pytest.raises(ValueError, match="matrix: needs"):
        ball.project(tensor.flatten(), 1.0)
    with pytest.raises(ValueError, match="radius: must have the batch's shape"):
        ball.project(torch.stack([tensor, tensor]), torch.ones(3))
