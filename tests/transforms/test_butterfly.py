"""Products of known pattern: fast transforms, their permutations, other patterns, and inputs at the edges."""

import pytest
import torch
from transforms.planted import error, hidden, noisy, product, single, transform

from compressor.factorizations.kronecker_sparse import butterfly_pattern
from compressor.transforms import butterfly

SIZES = [32, 64, 128, 256, 512, 1024]
RECTANGULAR = [(1, 4, 3, 6), (3, 6, 5, 1)]


@pytest.mark.parametrize("name", ["hadamard", "dft"])
@pytest.mark.parametrize("n", SIZES)
def test_fast_transforms_are_found(name, n):
    matrix = transform(name, n)
    found = butterfly(matrix)
    n_permuted = n if name == "dft" else 0
    assert found.n_nonzeros == 2 * n * (n.bit_length() - 1) + n_permuted
    assert found.residual <= 1e-12
    assert butterfly(single(matrix)).residual <= 1e-6
    if n <= 256:  # dense factors multiply slowly
        assert error(found.dense(), matrix) == pytest.approx(found.residual, rel=0.5)


@pytest.mark.parametrize("reverse", ["none", "first", "second", "both"])
@pytest.mark.parametrize("separate", [False, True])
def test_each_standard_permutation_is_found(separate, reverse):
    def columns(order):
        """The permutations of the paper, by their definition."""
        if len(order) == 1:
            return order
        order = order[0::2] + order[1::2] if separate else order
        first, second = order[: len(order) // 2], order[len(order) // 2 :]
        first = first[::-1] if reverse in ("first", "both") else first
        second = second[::-1] if reverse in ("second", "both") else second
        return columns(first) + columns(second)

    order = torch.tensor(columns(list(range(32))))
    matrix = product(32, seed=1)[:, order.argsort()]
    assert butterfly(matrix).residual <= 1e-12
    assert (butterfly(matrix, permutation=range(32)).residual > 0.1) == separate  # reversals alone keep a butterfly one


def test_a_given_permutation_is_used_and_is_the_last_factor():
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    matrix = product(16, seed=2)
    found = butterfly(matrix[:, order.argsort()], permutation=order)
    assert found.residual <= 1e-12
    assert torch.equal(matrix @ found.factors[-1], matrix[:, order.argsort()])
    assert butterfly(matrix[:, order.argsort()]).residual > 0.1


@pytest.mark.parametrize("order", ["balanced", "hierarchical"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_rectangular_patterns_are_found(order, dtype):
    matrix = product(0, seed=3, pattern=RECTANGULAR, dtype=dtype)
    found = butterfly(matrix, pattern=RECTANGULAR, order=order)
    assert [tuple(each.shape) for each in found.factors] == [(24, 18), (18, 15)]
    assert found.n_nonzeros == 4 * 3 * 6 + 3 * 6 * 5
    assert error(found.dense(), matrix) <= 1e-12


@pytest.mark.parametrize("name", ["hadamard", "dft"])
@pytest.mark.parametrize("level", [0.01, 0.05, 0.1])
def test_noise_is_more_than_halved(name, level):
    matrix = transform(name, 32)
    assert error(butterfly(noisy(matrix, level, seed=0)).dense(), matrix) <= 0.5 * level


def test_an_unknown_order_of_the_rows_is_not_found():
    assert butterfly(hidden(transform("hadamard", 32), seed=0)).residual > 0.5


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_entries_may_be_very_small_or_large(scale):
    assert 0 < butterfly(transform("hadamard", 16) * scale).residual <= 1e-12


def test_zero_and_one_by_one():
    zero = butterfly(torch.zeros(8, 8))
    assert (zero.residual, zero.dense().count_nonzero()) == (0.0, 0)
    assert butterfly(torch.tensor([[3.0]])).dense().tolist() == [[3.0]]


@pytest.mark.parametrize(
    ("matrix", "options", "message"),
    [
        (torch.zeros(0, 0), {}, r"^matrix: must have two axes and at least one entry, got shape \(0, 0\)$"),
        (torch.zeros(2, 4, 4), {}, r"^matrix: must have two axes and at least one entry, got shape \(2, 4, 4\)$"),
        (torch.zeros(4, 8), {}, r"^matrix: must be square, its size a power of two, got shape \(4, 8\)$"),
        (torch.zeros(6, 6), {}, r"^matrix: must be square, its size a power of two, got shape \(6, 6\)$"),
        (torch.ones(4, 4, dtype=torch.int64), {}, r"^matrix: must be of floating-point or complex numbers, got torch"),
        (torch.full((4, 4), float("nan")), {}, r"^tensor: entries must be finite, found nan or inf$"),
        (torch.zeros(4, 4), {"pattern": butterfly_pattern(8)}, r"^pattern: is of a matrix of shape \(8, 8\), got \(4"),
        (torch.zeros(2, 2), {"permutation": [0, 0]}, r"^permutation: must hold each of 0 to 1 once, got \[0, 0\]$"),
    ],
)
def test_what_does_not_fit_is_refused(matrix, options, message):
    with pytest.raises(ValueError, match=message):
        butterfly(matrix, **options)
