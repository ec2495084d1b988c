"""Kronecker-sparse products against pyfaust, where it is installed: it is no dependency, as its wheel is for few hosts.

Run: pip install pyfaust, then pytest tests/factorizations/test_against_pyfaust.py.
"""

import warnings

import numpy as np
import pytest
import torch

from compressor.factorizations.kronecker_sparse import butterfly_pattern, factor, rebuild

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of einops, which it does without
    pyfaust = pytest.importorskip("pyfaust", reason="pyfaust is not installed; pip install pyfaust")
    from pyfaust.fact import butterfly, fdb
    from pyfaust.fdb.GB_param_generate import DebflyGen

ENOUGH = 1.001  # of the peer's error


def error(matrix, found):
    return float(np.linalg.norm(found - matrix) / np.linalg.norm(matrix))


def ours(matrix, pattern, order):
    return error(matrix, rebuild(factor(torch.from_numpy(matrix), pattern=pattern, order=order)).numpy())


@pytest.mark.parametrize("n", [32, 128])
@pytest.mark.parametrize(("peer", "order"), [("bbtree", "balanced"), ("right", "hierarchical")])
def test_butterflies_are_as_near(n, peer, order):
    matrix = np.random.default_rng(n).standard_normal((n, n))
    theirs = error(matrix, butterfly(matrix, type=peer).toarray())
    assert ours(matrix, butterfly_pattern(n), order) <= theirs * ENOUGH


@pytest.mark.parametrize(
    ("shape", "n_factors", "rank"), [((24, 36), 3, 1), ((64, 96), 3, 2), ((60, 48), 4, 1), ((96, 384), 4, 2)]
)
@pytest.mark.parametrize(("peer", "order"), [("left-to-right", "hierarchical"), ("balanced", "balanced")])
def test_rectangular_patterns_are_as_near(shape, n_factors, rank, peer, order):
    matrix = np.random.default_rng(0).standard_normal(shape)
    theirs = error(matrix, fdb(matrix, n_factors=n_factors, rank=rank, hierarchical_order=peer).toarray())
    _, sizes = DebflyGen(*shape, rank).smallest_monotone_debfly_chain(n_factors, format="abcdpq")
    pattern = [(a, b * p, c * q, d) for a, b, c, d, p, q in sizes]
    assert ours(matrix, pattern, order) <= theirs * ENOUGH
