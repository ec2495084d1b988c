import pytest
import torch

from compressor.numerics.blocks import blocks

SHAPES = [(), (1,), (7,), (0, 4), (30, 50), (3, 1, 40), (2, 3, 5, 7), (1, 1000), (1000, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_bytes", [8, 100, 1000, 10**9])
@pytest.mark.parametrize("is_turned", [False, True])
def test_every_entry_is_in_one_piece(shape, n_bytes, is_turned):
    tensor = torch.zeros(shape, dtype=torch.float64)
    if is_turned:
        tensor = tensor.permute(list(reversed(range(tensor.ndim))))
    for (piece,) in blocks(tensor, n_bytes=n_bytes):
        piece += 1
        assert piece.numel() * 8 <= max(8, 2 * n_bytes)
    assert bool((tensor == 1).all())


def test_the_others_come_along():
    tensor = torch.arange(60.0).reshape(3, 4, 5)
    rows, everything = tensor[:, :, :1] * 10, torch.ones(1, 1, 1)
    pieces = list(blocks(tensor, rows, everything, n_bytes=24))
    assert len(pieces) > 3
    for piece, head, one in pieces:
        assert torch.equal(piece[..., :1] * 10, head)
        assert one is everything or torch.equal(one, everything)


def test_pieces_follow_the_order_in_memory():
    tensor = torch.zeros(64, 1000).T
    shapes = {piece.shape for (piece,) in blocks(tensor, n_bytes=8 * 4000)}
    assert shapes == {(1000, 8)}


def test_an_empty_tensor_has_no_pieces():
    assert list(blocks(torch.zeros(3, 0, 2))) == []
