"""Scores of units, against the activations that they stand for."""

import pytest
import torch
from torch import nn

from compressor.surgery import importance
from compressor.surgery.widths import Cut, Width

WIDTH = Width("hidden", "neuron", 4, (Cut("0", "out"),), (Cut("2", "in"),))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_taylor_is_activation_times_gradient_without_catching_either(net):
    rows = torch.randn(8, 3)
    hidden = net[1](net[0](rows))
    hidden.retain_grad()
    net[2](hidden).square().sum().backward()
    scores = importance.no_scores([WIDTH])
    importance.add_taylor_(scores, net, [WIDTH])
    expected = (hidden * hidden.grad).sum(dim=0).abs()
    torch.testing.assert_close(importance.of(scores, [WIDTH]).float(), expected / expected.mean())


def test_activations_are_the_mean_magnitude_of_what_is_read(net):
    batches = [torch.randn(5, 3), torch.randn(5, 3)]
    scores = importance.no_scores([WIDTH])
    with importance.adding_activations(scores, net, [WIDTH]):
        for rows in batches:
            net(rows)
    net(torch.full((5, 3), 100.0))  # outside, nothing is added
    expected = sum(net[1](net[0](rows)).abs().mean(dim=0) for rows in batches)
    torch.testing.assert_close(scores["importance.hidden"].float(), expected.detach())


def test_scores_are_known_once_something_was_added(net):
    scores = importance.no_scores([WIDTH])
    assert not importance.has_scores(scores, [WIDTH])
    with importance.adding_activations(scores, net, [WIDTH]):
        net(torch.ones(1, 3))
    assert importance.has_scores(scores, [WIDTH])
    assert importance.of(scores, [WIDTH]).mean().item() == pytest.approx(1.0)
