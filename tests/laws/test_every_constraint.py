"""Laws that every file in compressor/constraints obeys; a new set needs a size in SIZES."""

from itertools import product
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor import constraints
from compressor.constraints import Constraint, ConstraintSet
from compressor.plugins import discover

SETS = discover(constraints, ConstraintSet)
SIZES: dict[str, Any] = {  # for 3 rows and 4 columns
    "block_support": (1, 2, 3),
    "low_rank": 2,
    "skperm": 2,
    "sp": 5,
    "spcol": 2,
    "splin": 2,
    "splincol": 1,
    "support": torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 1]]).bool(),
    "unit_norm": 1.5,
}
SUPPORTS = {  # whether a mask of 3 x 4 may be a point's support
    "block_support": lambda mask: mask.reshape(3, 2, 2).any(-1).sum() <= 3,
    "skperm": lambda mask: mask.sum(0).max() <= 2 and mask.sum(1).max() <= 2,
    "sp": lambda mask: mask.sum() <= 5,
    "spcol": lambda mask: mask.sum(0).max() <= 2,
    "splin": lambda mask: mask.sum(1).max() <= 2,
    "support": lambda mask: not (mask & ~SIZES["support"].numpy()).any(),
}
MASKS = [np.reshape(bits, (3, 4)) for bits in product([False, True], repeat=12)]

every_set = pytest.mark.parametrize("name", SETS)
entries = st.floats(-1e3, 1e3, width=32)
matrices = hnp.arrays(np.float64, (3, 4), elements=entries).map(torch.from_numpy)


def random(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def size_for(name, shape):
    """The size of SIZES for another shape."""
    return {"support": torch.ones(shape[-2:]).bool(), "block_support": (1, 1, 3)}.get(name, SIZES[name])


@every_set
@settings(deadline=None, max_examples=25)
@given(matrix=matrices)
def test_projecting_twice_changes_nothing(name, matrix):
    once = SETS[name].project(matrix, SIZES[name])
    torch.testing.assert_close(SETS[name].project(once, SIZES[name]), once, rtol=1e-12, atol=1e-10)


@every_set
def test_equal_entries_are_selected_alike_each_time(name):
    once = SETS[name].project(torch.ones(3, 4), SIZES[name])
    torch.testing.assert_close(SETS[name].project(once, SIZES[name]), once)


@pytest.mark.parametrize("name", SUPPORTS)
@settings(deadline=None, max_examples=10)
@given(matrix=matrices)
def test_no_other_support_of_the_set_is_nearer(name, matrix):
    found = SETS[name].project(matrix, SIZES[name])
    assert SUPPORTS[name](found.numpy() != 0)
    assert ((found == matrix) | (found == 0)).all()
    energies = matrix.numpy() ** 2
    best = max(energies[mask].sum() for mask in MASKS if SUPPORTS[name](mask))
    assert float(found.square().sum()) >= best - 1e-9 * energies.sum()


@pytest.mark.parametrize("name", [name for name, file in SETS.items() if file.EXACT])
def test_no_sampled_point_of_the_set_is_nearer(name):
    matrix = random(3, 4)
    found = SETS[name].project(matrix, SIZES[name])
    near = matrix + random(500, 3, 4, seed=1) * torch.logspace(-3, 1, 500, dtype=torch.float64)[:, None, None]
    points = SETS[name].project(near, SIZES[name])
    distances = torch.linalg.vector_norm(points - matrix, dim=(-2, -1))
    assert torch.linalg.vector_norm(found - matrix) <= distances.min() + 1e-12


def test_low_rank_leaves_the_smaller_singular_values():
    matrix = random(5, 4)
    values = np.linalg.svd(matrix.numpy(), compute_uv=False)
    error = torch.linalg.vector_norm(matrix - SETS["low_rank"].project(matrix, 2))
    assert float(error) == pytest.approx(np.sqrt((values[2:] ** 2).sum()), rel=1e-12)


def test_splincol_is_the_union_of_rows_and_columns():
    matrix = random(6, 6)
    rows, columns = (SETS[name].project(matrix, 2) != 0 for name in ("splin", "spcol"))
    assert torch.equal(SETS["splincol"].project(matrix, 2) != 0, rows | columns)


@every_set
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_keeps_type_and_argument(name, dtype):
    matrix = random(3, 4, dtype=torch.complex128).to(dtype) if dtype.is_complex else random(3, 4).to(dtype)
    before = matrix.clone()
    found = SETS[name].project(matrix, SIZES[name])
    assert (found.dtype, found.device, found.shape) == (matrix.dtype, matrix.device, matrix.shape)
    assert torch.equal(matrix, before)
    assert found.data_ptr() != matrix.data_ptr()


def test_entries_that_differ_by_rounding_count_as_equal():
    matrix = torch.ones(4, 4, dtype=torch.float64) + 1e-14 * random(4, 4)
    assert (SETS["splin"].project(matrix, 2) != 0).tolist() == [[True, True, False, False]] * 4
    blocks = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2)).bool()
    assert torch.equal(SETS["skperm"].project(matrix, 2) != 0, blocks)


@every_set
def test_a_batch_is_projected_matrix_by_matrix(name):
    batch = random(2, 3, 3, 4)
    found = SETS[name].project(batch, SIZES[name])
    for index in product(range(2), range(3)):
        torch.testing.assert_close(found[index], SETS[name].project(batch[index], SIZES[name]))


@every_set
def test_a_phase_only_rotates_the_result(name):
    matrix, phase = random(3, 4, dtype=torch.complex128), torch.exp(torch.tensor(0.7j, dtype=torch.complex128))
    rotated = SETS[name].project(matrix * phase, SIZES[name])
    torch.testing.assert_close(rotated, SETS[name].project(matrix, SIZES[name]) * phase)


@every_set
def test_a_cone_has_every_multiple(name):
    point = SETS[name].project(random(3, 4), SIZES[name])
    is_fixed = torch.allclose(SETS[name].project(3 * point, SIZES[name]), 3 * point)
    assert is_fixed == SETS[name].CONE


@pytest.mark.parametrize("name", [name for name, file in SETS.items() if file.SCALABLE])
@settings(deadline=None, max_examples=25)
@given(matrix=matrices, logs=hnp.arrays(np.float64, (7,), elements=st.floats(-2, 2)))
def test_scaled_rows_and_columns_keep_a_point_in_a_scalable_set(name, matrix, logs):
    scales = torch.from_numpy(10**logs)
    point = scales[:3, None] * SETS[name].project(matrix, SIZES[name]) * scales[3:]
    torch.testing.assert_close(SETS[name].project(point, SIZES[name]), point, rtol=1e-9, atol=1e-6)


@every_set
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 3, 4), (2, 0, 0)])
def test_an_empty_matrix_stays_empty(name, shape):
    assert SETS[name].project(torch.zeros(shape), size_for(name, shape)).shape == shape


@every_set
def test_zero_and_one_by_one(name):
    zero = SETS[name].project(torch.zeros(3, 4), SIZES[name])
    assert zero.any() != SETS[name].CONE
    assert SETS[name].project(torch.full((1, 1), -2.0), size_for(name, (1, 1))).item() == (
        -1.5 if name == "unit_norm" else -2
    )


@pytest.mark.parametrize("name", [name for name in SETS if name not in ("support", "unit_norm")])
def test_a_set_of_size_zero_has_the_zero_matrix_only(name):
    assert not SETS[name].project(random(3, 4), (1, 2, 0) if name == "block_support" else 0).any()


@every_set
@pytest.mark.parametrize("entry", [float("nan"), float("inf")])
def test_refuses_what_is_not_finite(name, entry):
    with pytest.raises(ValueError, match=r"^matrix: entries must be finite, found nan or inf$"):
        SETS[name].project(torch.full((3, 4), entry), SIZES[name])


@every_set
def test_refuses_a_vector_and_a_wrong_size(name):
    with pytest.raises(ValueError, match=r"^(matrix: needs 2 dimensions|size: )"):
        SETS[name].project(torch.ones(4), (1, 1, 1) if name == "support" else SIZES[name])
    wrong = {"support": torch.ones(3, 4), "block_support": (2, 2, 1)}.get(name, -1)
    with pytest.raises(ValueError, match=r"^size: "):
        SETS[name].project(random(3, 4), wrong)


@every_set
def test_gradients_flow_through_the_kept_entries(name):
    matrix = random(3, 4).requires_grad_()
    SETS[name].project(matrix, SIZES[name]).square().sum().backward()
    assert matrix.grad is not None
    assert matrix.grad.isfinite().all()


def test_a_constraint_names_its_set_and_its_shape():
    assert Constraint("sp", (3, 4), 5).is_cone
    with pytest.raises(ValueError, match=r"^constraint: no set 'l0'; choose from block_support, low_rank"):
        Constraint("l0", (3, 4), 5)
    with pytest.raises(ValueError, match=r"^matrix: must have shape \(3, 4\), got \(4, 3\)$"):
        Constraint("sp", (3, 4), 5).project(torch.ones(4, 3))
