"""The nuclear ball where its singular values coincide or vanish, and its radius as a rank."""

import pytest
import torch

from compressor.balls import nuclear, radius_for


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TIED = {
    "identity": torch.eye(4, dtype=torch.float64),
    "pairs": torch.linalg.qr(random(6, 4)).Q * torch.tensor([3.0, 3.0, 1.0, 1.0], dtype=torch.float64),
}


@pytest.mark.parametrize("name", TIED)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_gradient_is_exact_where_singular_values_coincide(name, share):
    matrix = TIED[name].clone().requires_grad_()
    radius = share * float(nuclear.norm(matrix.detach()))
    assert torch.autograd.gradcheck(lambda each: nuclear.project(each, radius), matrix, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (2, 5, 3)])
def test_gradient_of_low_rank_and_of_batches(shape):
    matrix = (random(*shape[:-1], 2) @ random(*shape[:-2], 2, shape[-1], seed=1)).requires_grad_()
    radius = (0.4 * nuclear.norm(matrix)).detach().requires_grad_()
    assert torch.autograd.gradcheck(nuclear.project, (matrix, radius), atol=1e-6)


def test_a_zero_matrix_inside_the_ball_passes_its_gradient_on():
    matrix = torch.zeros(3, 2, requires_grad=True)
    nuclear.project(matrix, 1.0).sum().backward()
    assert matrix.grad is not None
    assert torch.equal(matrix.grad, torch.ones(3, 2))


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_the_radius_of_a_sparsity_leaves_a_rank(rank):
    matrix = random(10, 8)
    radius = radius_for(nuclear, matrix, 1 - rank / 8)
    assert int(torch.linalg.matrix_rank(nuclear.project(matrix, radius))) == rank
    assert int(torch.linalg.matrix_rank(nuclear.project(matrix, radius * 1.01))) == rank + 1
