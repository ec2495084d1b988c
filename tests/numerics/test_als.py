"""Alternating least squares for CP: the watch on terms that cancel, the unfolding's product, the solution."""

import pytest
import torch

from compressor.numerics import als, modes


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def without_a_best(n):
    """A tensor without best approximation of rank two, and two terms that are near it and cancel n times its norm."""
    (a, b), (c, d), (e, f) = random(3, 2, 4)
    terms = [torch.einsum("i,j,k->ijk", *vectors) for vectors in ((a, c, f), (a, d, e), (b, c, e))]
    tensor = torch.stack(terms).sum(dim=0)
    near = [torch.stack(pair, dim=1) for pair in ((a + b / n, -a), (c + d / n, c), (n * e + f, n * e))]
    return tensor, near


def test_a_sweep_after_which_terms_cancel_too_much_is_undone(monkeypatch):
    tensor, near = without_a_best(100)
    even = als.balanced(near)
    ratios = [float(als.term_norms(als.improve(tensor, near, n)).sum() / tensor.norm()) for n in range(4)]
    assert ratios == sorted(ratios)  # they grow, as there is no best approximation
    monkeypatch.setattr(als, "CANCELLING", (ratios[0] + ratios[1]) / 2)
    torch.testing.assert_close(als.improve(tensor, near, 100), even, rtol=0, atol=0)
    monkeypatch.setattr(als, "CANCELLING", (ratios[1] + ratios[2]) / 2)
    stopped = als.improve(tensor, near, 100)
    assert float((als.full(stopped) - tensor).norm()) < float((als.full(even) - tensor).norm())


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_a_sweep_solves_least_squares_for_each_factor(mode):
    """At convergence no factor can lower the error: its gradient is zero."""
    tensor = random(4, 3, 5)
    factors = als.improve(tensor, als.start(tensor, 2), 3000)
    others = als.khatri_rao([factor for i, factor in enumerate(factors) if i != mode])
    gradient = (modes.unfold(tensor - als.full(factors), mode, 3)) @ others
    assert float(gradient.norm()) < 1e-8 * float(tensor.norm())


def test_terms_share_their_norm_equally():
    factors = [random(4, 3), 10 * random(5, 3, seed=1), 0.01 * random(6, 3, seed=2)]
    even = als.balanced(factors)
    torch.testing.assert_close(als.full(even), als.full(factors))
    norms = torch.stack([factor.norm(dim=0) for factor in even])
    torch.testing.assert_close(norms, norms[:1].expand(3, 3))
