"""What the laws cannot say about the exact l1,inf ball: large matrices, the start, ties, batches."""

import pytest
import torch

from compressor.balls import l1_inf_exact

radii = pytest.mark.parametrize("share", [0.02, 0.2, 0.9])


def matrix(n_rows, n_columns, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randn(n_columns, generator=generator).mul(0.5).exp()
    return (torch.randn(n_rows, n_columns, generator=generator) * sizes).to(dtype)


@radii
@pytest.mark.parametrize("shape", [(2000, 50), (600, 300)])
def test_is_nearest_where_a_sample_starts_the_search(shape, share):
    weights = matrix(*shape)
    radius = share * float(l1_inf_exact.norm(weights))
    nearest = l1_inf_exact.project(weights, radius)
    gap = weights - nearest
    torch.testing.assert_close((gap * nearest).sum(), radius * l1_inf_exact.dual_norm(gap), rtol=1e-11, atol=0)
    assert float(l1_inf_exact.norm(nearest)) == pytest.approx(radius, rel=1e-12)


@radii
@pytest.mark.parametrize("error", [0.0, 0.01, 0.5, 100.0])
def test_a_start_changes_the_way_and_not_the_end(share, error):
    weights = matrix(1500, 40)
    radius = share * float(l1_inf_exact.norm(weights))
    cold = l1_inf_exact.project(weights, radius)
    threshold = float(l1_inf_exact.dual_norm(weights - cold))
    warm = l1_inf_exact.project(weights, radius, start=threshold * (1 + error))
    torch.testing.assert_close(warm, cold, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(30, 4000), (700, 200)])
def test_a_column_at_the_threshold_is_exactly_zero(shape, dtype):
    for seed in range(5):
        weights = matrix(shape[0], shape[1], dtype=dtype, seed=seed)
        for sparsity in (0.3, 0.7, 0.95):
            projected = l1_inf_exact.project(weights, l1_inf_exact.radius_for(weights, sparsity))
            assert int((projected == 0).all(dim=0).sum()) == round(sparsity * shape[1])


def test_one_of_a_batch_may_be_inside():
    batch = torch.stack([matrix(600, 20), 1e-6 * matrix(600, 20, seed=1)])
    radius = 0.1 * float(l1_inf_exact.norm(batch)[0])
    projected = l1_inf_exact.project(batch, radius)
    assert torch.equal(projected[1], batch[1])
    torch.testing.assert_close(projected[0], l1_inf_exact.project(batch[0], radius), rtol=0, atol=1e-13)


def test_columns_at_rest_may_be_moved_again():
    """Skewed columns: some come to rest before the threshold does."""
    for seed in range(30):
        weights = matrix(40, 60, seed=seed) ** 5
        radius = 0.3 * float(l1_inf_exact.norm(weights))
        nearest = l1_inf_exact.project(weights, radius)
        gap = weights - nearest
        torch.testing.assert_close((gap * nearest).sum(), radius * l1_inf_exact.dual_norm(gap), rtol=1e-10, atol=0)
