"""PALM4MSA: the error never rises, the factors stay in their sets, and known products are found."""

import time
from itertools import pairwise

import pytest
import torch
from scipy.linalg import hadamard

from compressor.constraints import Constraint
from compressor.transforms import hierarchical, palm4msa
from compressor.transforms.hierarchical import split_off

SETS = {
    "block_support": (2, 2, 8),
    "low_rank": 3,
    "skperm": 3,
    "sp": 24,
    "spcol": 3,
    "splin": 3,
    "splincol": 2,
    "support": torch.eye(8).bool() | torch.eye(8).flip(0).bool() | torch.ones(8, 8).triu(5).bool(),
}


def random(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def hadamard_matrix(size):
    return torch.from_numpy(hadamard(size)).double()


@pytest.mark.parametrize("right_to_left", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("name", SETS)
def test_the_error_never_rises_and_the_factors_stay_in_their_sets(name, dtype, right_to_left):
    matrix, own = random(8, 8, dtype=dtype), Constraint(name, (8, 8), SETS[name])
    runs = [
        palm4msa(matrix, [own, own, own], n_sweeps=n, tolerance=0, right_to_left=right_to_left)
        for n in (1, 2, 3, 5, 8, 13)
    ]
    errors = [float(run.residual) for run in runs]
    assert all(after <= before + 1e-14 for before, after in pairwise(errors))
    assert errors[-1] < errors[0] < 1
    for factor in runs[-1].factors:
        torch.testing.assert_close(own.project(factor), factor, rtol=1e-9, atol=1e-9)


def test_a_product_of_known_supports_is_found():
    masks = [torch.block_diag(*[torch.ones(2, 2)] * 2).bool(), (torch.ones(2, 2).kron(torch.eye(2))).bool()]
    product = palm4msa(hadamard_matrix(4), [Constraint("support", (4, 4), mask) for mask in masks])
    assert product.residual < 1e-12
    assert product.n_nonzeros == 16


def test_a_low_rank_set_gives_the_truncated_svd():
    matrix = random(6, 9)
    values = torch.linalg.svdvals(matrix)
    product = palm4msa(matrix, [Constraint("sp", (6, 2), 12), Constraint("sp", (2, 9), 18)], n_sweeps=2000, tolerance=0)
    assert product.residual == pytest.approx(float(values[2:].norm() / values.norm()), rel=1e-6)


def test_a_factor_of_unit_norm_leaves_the_scale_to_another():
    sets = [Constraint("unit_norm", (3, 2), 2.0), Constraint("sp", (2, 3), 6)]
    product = palm4msa(random(3, 3), sets)
    assert float(product.factors[0].norm()) == pytest.approx(2)
    with pytest.raises(ValueError, match=r"^constraints: one must be a cone, to carry the scale; none is$"):
        palm4msa(random(3, 3), [Constraint("unit_norm", (3, 3), 1.0)])


@pytest.mark.parametrize("size", [4, 8, 16, 32, 64])
def test_hierarchical_finds_the_factors_of_hadamard_matrices(size):
    n_factors = size.bit_length() - 1
    asked = 2 * size * n_factors
    product = hierarchical(hadamard_matrix(size), n_factors=n_factors, n_nonzeros=asked, constraint="splincol")
    assert product.residual < 1e-12
    assert product.n_nonzeros == asked


def test_a_batch_is_factored_at_once():
    batch = torch.stack([hadamard_matrix(8), -3 * hadamard_matrix(8)])
    product = hierarchical(batch, n_factors=3, n_nonzeros=48, constraint="splincol")
    assert product.factors[0].shape == (2, 8, 8)
    residuals = torch.as_tensor(product.residual)
    assert residuals.shape == (2,)
    assert residuals.max() < 1e-12


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 1e-6), (torch.complex64, 1e-6), (torch.complex128, 1e-12)]
)
def test_keeps_the_type(dtype, bound):
    phase = 1j if dtype.is_complex else 1
    product = hierarchical((phase * hadamard_matrix(8)).to(dtype), n_factors=3, n_nonzeros=48, constraint="splincol")
    assert {factor.dtype for factor in product.factors} == {dtype}
    assert product.residual < bound


@pytest.mark.parametrize("shape", [(12, 6), (6, 12), (7, 7)])
@pytest.mark.parametrize("constraint", ["sp", "splin", "spcol", "skperm"])
def test_no_more_entries_than_asked_for(shape, constraint):
    matrix = random(*shape)
    product = hierarchical(matrix, n_factors=3, n_nonzeros=60, constraint=constraint)
    assert product.n_nonzeros <= 60
    assert product.dense().shape == shape
    assert 0 < product.residual < 0.9
    error = (product.dense() - matrix).norm() / matrix.norm()
    assert float(product.residual) == pytest.approx(float(error))
    vectors = random(shape[1], 2, seed=1)
    torch.testing.assert_close(product @ vectors, product.dense() @ vectors)


def test_a_share_says_how_many_entries_the_split_off_factors_have():
    first, *others = hierarchical(random(10, 10), n_factors=3, n_nonzeros=80, share=0.25).factors
    assert [int(factor.count_nonzero()) for factor in (first, *others)] == [40, 20, 20]
    first, *others = hierarchical(random(10, 10), n_factors=3, n_nonzeros=80, share=(0.25, 0.125)).factors
    assert [int(factor.count_nonzero()) for factor in (first, *others)] == [50, 10, 20]


@pytest.mark.parametrize("size", [8, 32, 64])
def test_hadamard_matrices_are_found_without_constraints_on_the_residuals(size):
    n_factors = size.bit_length() - 1
    asked = {"n_factors": n_factors, "n_nonzeros": 2 * size * n_factors, "constraint": "skperm"}
    product = hierarchical(hadamard_matrix(size), **asked, residuals="free")
    assert product.residual < 1e-12
    assert product.n_nonzeros == 2 * size * n_factors


@pytest.mark.parametrize(("size", "seconds"), [(128, 10), pytest.param(256, 120, marks=pytest.mark.slow)])
def test_larger_hadamard_matrices_are_found_in_time(size, seconds):
    n_factors, start = size.bit_length() - 1, time.process_time()
    asked = {"n_factors": n_factors, "n_nonzeros": 2 * size * n_factors, "constraint": "splincol"}
    assert hierarchical(hadamard_matrix(size), **asked).residual < 1e-12
    assert time.process_time() - start < seconds


def test_momentum_comes_nearer_in_as_many_sweeps():
    sizes = torch.logspace(-1, 0, 16, dtype=torch.float64)
    matrix = random(64, 16) * sizes @ random(16, 16, seed=1)
    sets = [Constraint("sp", (64, 16), 512), Constraint("sp", (16, 16), 128)]
    assert palm4msa(matrix, sets, n_sweeps=100, tolerance=0).residual < 0.08  # without momentum it is 0.1


def test_zero_and_one_by_one():
    assert palm4msa(torch.zeros(3, 3), [Constraint("sp", (3, 3), 2)] * 2).residual == 0
    assert hierarchical(torch.zeros(4, 4), n_factors=2, n_nonzeros=8).residual == 0
    product = hierarchical(torch.full((1, 1), -2.0), n_factors=3, n_nonzeros=3)
    assert product.dense().item() == pytest.approx(-2)


@pytest.mark.parametrize("shape", [(0, 3, 3), (3, 0)])
def test_an_empty_matrix_has_empty_factors(shape):
    sides = shape[-2:]
    product = palm4msa(torch.zeros(shape), [Constraint("sp", sides, 2), Constraint("sp", (sides[1],) * 2, 2)])
    assert product.dense().shape == shape


def test_asks_for_constraints_that_fit():
    matrix = random(3, 4)
    with pytest.raises(
        ValueError, match=r"^constraints: their shapes must chain to the matrix's \(3, 4\), got \[\(3, 3"
    ):
        palm4msa(matrix, [Constraint("sp", (3, 3), 2)])
    with pytest.raises(ValueError, match=r"^matrix: entries must be finite, found nan or inf$"):
        palm4msa(matrix / 0, [Constraint("sp", (3, 4), 2)])
    with pytest.raises(ValueError, match=r"^start: must have the shapes of the constraints, got \[\(2, 2\)\]$"):
        palm4msa(matrix, [Constraint("sp", (3, 4), 2)], start=[torch.ones(2, 2)])
    with pytest.raises(ValueError, match=r"^n_sweeps, tolerance: must be >= 1 and >= 0, got 0, 0$"):
        palm4msa(matrix, [Constraint("sp", (3, 4), 2)], n_sweeps=0, tolerance=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_factors": 1, "n_nonzeros": 9}, r"^n_factors, n_nonzeros: must be >= 2 and >= n_factors, got 1, 9$"),
        ({"n_factors": 3, "n_nonzeros": 2}, r"^n_factors, n_nonzeros: must be >= 2 and >= n_factors, got 3, 2$"),
        (
            {"n_factors": 3, "n_nonzeros": 9, "share": [0.5]},
            r"^share: must be > 0 for each .* together < 1, got \[0.5\]$",
        ),
        ({"n_factors": 3, "n_nonzeros": 9, "share": 0.5}, r"^share: must be > 0 for each .* together < 1, got 0.5$"),
        ({"n_factors": 2, "n_nonzeros": 9, "constraint": "support"}, r"^constraint: must be one of sp, .*'support'$"),
        (
            {"n_factors": 2, "n_nonzeros": 4, "constraint": "splin"},
            r"^n_nonzeros: 2 a factor of shape \(3, 3\) is below",
        ),
    ],
)
def test_asks_for_numbers_that_fit(options, message):
    with pytest.raises(ValueError, match=message):
        hierarchical(random(3, 4), **options)


@pytest.mark.parametrize("is_wide", [False, True])
def test_later_factors_are_put_beside_the_residual(is_wide):
    def full(*shape):
        shape = shape[::-1] if is_wide else shape
        return Constraint("sp", shape, shape[0] * shape[1])

    matrix = random(5, 8) if is_wide else random(8, 5)
    product = split_off(matrix, [full(4, 5), full(3, 4)], [full(8, 4), full(8, 3)], n_sweeps=500)
    sizes = [tuple(factor.shape) for factor in product.factors]
    assert sizes == ([(5, 4), (4, 3), (3, 8)] if is_wide else [(8, 3), (3, 4), (4, 5)])
    values = torch.linalg.svdvals(matrix)
    assert product.residual == pytest.approx(float(values[3:].norm() / values.norm()), rel=1e-3)


def test_split_off_asks_for_as_many_residuals():
    with pytest.raises(ValueError, match=r"^constraints, residuals: must be as many, and at least one, got 1, 0$"):
        split_off(random(3, 3), [Constraint("sp", (3, 3), 2)], [])
    with pytest.raises(ValueError, match=r"^matrix: needs two dimensions and entries, got shape \(0, 3\)$"):
        hierarchical(torch.zeros(0, 3), n_factors=2, n_nonzeros=4)


def test_a_square_factor_has_two_entries_a_row_by_default():
    """A twentieth of 200 would be ten, for 16 rows: the product would lose some."""
    product = hierarchical(random(16, 100), n_factors=3, n_nonzeros=200)
    assert [int(torch.count_nonzero(factor)) for factor in product.factors] == [50, 32, 118]
    assert bool(product.dense().any(dim=1).all())
