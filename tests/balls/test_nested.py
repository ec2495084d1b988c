"""The multi-level balls: what they are in terms of simpler ones, and examples small enough to do by hand."""

import torch

from compressor.balls import l1_1, l1_1_1, l1_inf, l1_inf_inf


def tensor(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_l1_inf_inf_is_l1_inf_of_flat_slices():
    heads = tensor(6, 4, 10)
    flat = heads.flatten(1)
    radius = l1_inf_inf.radius_for(heads, 0.5)
    assert radius == l1_inf.radius_for(flat, 0.5, dim=0)
    assert torch.equal(l1_inf_inf.project(heads, radius).flatten(1), l1_inf.project(flat, radius, dim=0))


def test_l1_1_1_of_one_inner_slice_each_is_l1_1():
    flat = tensor(6, 40)
    radius = 0.2 * float(l1_1.norm(flat))
    nested = l1_1_1.project(flat.unsqueeze(1), radius)
    torch.testing.assert_close(nested.squeeze(1), l1_1.project(flat, radius, dim=0))


def test_l1_1_1_by_hand():
    """Slices of norm 12 and 3 give up 4 each; inner norms 8 and 4 give up 2 each; entries of 6 and 2 give up 1."""
    outer = torch.tensor([[[6.0, -2.0], [0.0, 4.0]], [[1.0, 1.0], [1.0, 0.0]]])
    expected = torch.tensor([[[5.0, -1.0], [0.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(l1_1_1.project(outer, 8.0), expected)


def test_filters_of_a_convolution():
    """Output channels, then input channels; the taps of a filter are the members."""
    kernel = tensor(8, 5, 3, 3)
    projected = l1_inf_inf.project(kernel, l1_inf_inf.radius_for(kernel, 0.25, dim=(0, 1)), dim=(0, 1))
    assert int((projected == 0).flatten(1).all(dim=1).sum()) == 2
    assert torch.equal(l1_1_1.project(kernel, 9.0, dim=(0, 1)).flatten(2), l1_1_1.project(kernel.flatten(2), 9.0))
