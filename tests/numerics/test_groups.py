import pytest
import torch

from compressor.numerics.groups import Coupled, split


@pytest.mark.parametrize(
    ("shape", "dim", "expected", "n_batch"),
    [
        ((3, 4), -1, (4, 3), 0),
        ((3, 4), 0, (3, 4), 0),
        ((2, 3, 4), -1, (2, 4, 3), 1),
        ((2, 3, 4), -2, (2, 3, 4), 1),
        ((8, 2, 3, 5), 0, (8, 2, 3, 5), 0),  # a convolution's output channels: everything else is a member
        ((8, 2, 3, 5), 1, (8, 2, 3, 5), 1),
        ((2, 3, 4), (0, 1), (2, 3, 4), 1),
        ((2, 3, 4), (2, 0), (4, 2, 3), 1),
        ((9, 2, 3, 4), (-3, -2), (9, 2, 3, 4), 2),
        ((8, 2, 3, 5), (0, 1), (8, 2, 3, 5), 1),
        ((3, 4), (-3, -2), (3, 4, 1), 1),
        ((3, 4), None, (1, 3, 4), 0),
        ((), None, (1, 1), 0),
    ],
)
def test_axes_become_batch_groups_and_members(shape, dim, expected, n_batch):
    tensor = torch.zeros(shape)
    groups = split(tensor, dim)
    (part,) = groups.parts
    assert (tuple(part.shape), groups.n_batch) == (expected, n_batch)
    assert part.data_ptr() == tensor.data_ptr()


def test_a_sample_takes_an_eighth_of_long_members():
    tensor = torch.arange(-9000.0, 9000.0).reshape(3, 6000)
    (rows,), (columns,) = split(tensor, 0).sample().parts, split(tensor.T, -1).sample().parts
    assert rows.shape == (3, 8 * (6000 // 64))
    assert torch.equal(rows, columns)
    assert all(bool(torch.isin(rows[row], tensor[row].abs()).all()) for row in range(3))
    short = split(tensor[:, :500], 0)
    assert short.sample().parts[0] is short.parts[0]


def test_taking_keeps_the_order_in_memory():
    (taken,) = split(torch.arange(12.0).reshape(3, 4), -1).take(torch.tensor([1, 3])).parts
    assert taken.tolist() == [[1.0, 5.0, 9.0], [3.0, 7.0, 11.0]]
    assert taken.stride() == (1, 2)


def test_coupled_tensors_need_axes_of_one_size():
    with pytest.raises(ValueError, match=r"coupled: the axes in dims must have one size, got \[3, 4\]"):
        Coupled((torch.zeros(3, 4), torch.zeros(3, 4)), dims=(0, 1))
    with pytest.raises(ValueError, match="coupled: needs one dim per tensor, got 2 and 1"):
        Coupled((torch.zeros(3, 4), torch.zeros(3, 4)), dims=(0,))
