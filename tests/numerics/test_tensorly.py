"""Errors no larger than tensorly's, on tensors without and with structure."""

import warnings

import pytest
import torch

from compressor.factorizations import cp, tensor_ring, tensor_train, tensor_train_matrix, tucker

tensorly = pytest.importorskip("tensorly")
decomposition = pytest.importorskip("tensorly.decomposition")


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def decaying(*shape):
    """Random entries whose modes fall off, as those of weights do."""
    tensor = random(*shape)
    for mode, size in enumerate(shape):
        scale = torch.logspace(0, -1, size, dtype=torch.float64)
        tensor = tensor * scale.reshape(-1, *[1] * (len(shape) - mode - 1))
    return tensor


TENSORS = [random(6, 8, 5, 7), decaying(6, 8, 5, 7)]
each_tensor = pytest.mark.parametrize("tensor", TENSORS, ids=["random", "decaying"])


def relative(tensor, rebuilt):
    return float((tensor - torch.as_tensor(rebuilt)).norm() / tensor.norm())


@each_tensor
@pytest.mark.parametrize("rank", [(1, 4, 9, 5, 1), (1, 6, 12, 3, 1)])
def test_tensor_train_is_the_same(tensor, rank):
    peer = tensorly.tt_to_tensor(decomposition.tensor_train(tensor.numpy(), list(rank)))
    assert relative(torch.as_tensor(peer), tensor_train.rebuild(tensor_train.factor(tensor, rank=rank))) < 1e-6


@each_tensor
def test_tensor_train_matrix_is_the_same(tensor):
    rank, matrix = (1, 7, 1), tensor.reshape(48, 35)
    peer = tensorly.tt_matrix_to_tensor(decomposition.tensor_train_matrix(tensor.numpy(), list(rank)))
    ours = tensor_train_matrix.rebuild(tensor_train_matrix.factor(matrix, rank=rank, shape=((6, 8), (5, 7))))
    assert relative(torch.as_tensor(peer), ours.reshape(6, 8, 5, 7)) < 1e-6


@each_tensor
@pytest.mark.parametrize("rank", [(3, 4, 3, 4), (2, 6, 5, 3)])
def test_tucker_is_as_good(tensor, rank):
    peer = tensorly.tucker_to_tensor(decomposition.tucker(tensor.numpy(), list(rank), n_iter_max=100, tol=1e-12))
    assert relative(tensor, tucker.rebuild(tucker.factor(tensor, rank=rank))) <= 1.001 * relative(tensor, peer)


@each_tensor
@pytest.mark.parametrize("rank", [3, 12])
def test_cp_is_as_good_after_as_many_iterations(tensor, rank):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of every rank above a size
        weights = decomposition.parafac(tensor.numpy(), rank, n_iter_max=150, init="svd", tol=0, random_state=0)
    ours = cp.rebuild(cp.factor(tensor, rank=rank, n_iterations=150))
    assert relative(tensor, ours) <= 1.01 * relative(tensor, tensorly.cp_to_tensor(weights))


@each_tensor
def test_a_tensor_ring_is_better_than_successive_truncations(tensor):
    rank = (2, 3, 4, 3, 2)
    peer = tensorly.tr_to_tensor(decomposition.tensor_ring(tensor.numpy(), list(rank)))
    assert relative(tensor, tensor_ring.rebuild(tensor_ring.factor(tensor, rank=rank))) < 0.99 * relative(tensor, peer)
