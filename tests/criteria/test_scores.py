"""Scores of units, against the activations and derivatives that they stand for."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from compressor import criteria
from compressor.criteria import activation, fisher, hard_concrete, hessian, movement, taylor
from compressor.numerics.least_squares import correction
from compressor.surgery.widths import Cut, Width

WIDTH = Width("hidden", "neuron", 4, (Cut("0", "out"),), (Cut("2", "in"),))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def collected(criterion: Any, net: Any, width, passes):
    """State after some passes; each is given the function to call after a backward pass."""
    state = criterion.start([width], 0)
    with criterion.watching(state, net, [width], goal=0.5) as after_backward:
        passes(after_backward)
    return state


def test_taylor_is_activation_times_gradient_without_catching_either(net):
    rows = torch.randn(8, 3)
    hidden = net[1](net[0](rows))
    hidden.retain_grad()

    def passes(after_backward):
        net[2](hidden).square().sum().backward()
        after_backward()

    scores = taylor.scores(collected(taylor, net, WIDTH, passes), net, WIDTH)
    torch.testing.assert_close(scores.float(), (hidden * hidden.grad).sum(dim=0).abs())


def test_activations_are_the_mean_magnitude_of_what_is_read(net):
    batches = [torch.randn(5, 3), torch.randn(5, 3)]
    state = collected(activation, net, WIDTH, lambda _: [net(rows) for rows in batches])
    net(torch.full((5, 3), 100.0))  # outside, nothing is added
    expected = sum(net[1](net[0](rows)).abs().mean(dim=0) for rows in batches)
    torch.testing.assert_close(activation.scores(state, net, WIDTH).float(), expected.detach())


def test_scores_are_known_once_something_was_added(net):
    assert not criteria.is_collected(activation.start([WIDTH], 0), [WIDTH])
    state = collected(activation, net, WIDTH, lambda _: net(torch.ones(1, 3)))
    assert criteria.is_collected(state, [WIDTH])


def test_fisher_is_the_second_derivative_of_a_linear_gaussian_model():
    """With residuals of variance one, the squared derivative of -log p by a mask is its second derivative."""
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Linear(3, 4), nn.Identity(), nn.Linear(4, 1)).double()
    rows = torch.randn(6, 3, dtype=torch.float64)
    targets = net(rows).detach() + torch.tensor([[1.0], [-1.0]]).repeat(3, 1)

    def loss(mask):
        return 0.5 * (net[2](net[0](rows) * mask) - targets).square().mean()

    def passes(after_backward):
        (0.5 * (net(rows) - targets).square().mean()).backward()
        after_backward()

    scores = fisher.scores(collected(fisher, net, WIDTH, passes), net, WIDTH) / len(rows)
    exact = torch.autograd.functional.hessian(loss, torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(scores, exact.diagonal())


def test_fisher_sums_over_positions_before_it_squares_and_over_examples_after(net):
    rows, weights = torch.randn(5, 7, 3), torch.randn(5, 7, 2)
    hidden = net[1](net[0](rows))
    hidden.retain_grad()
    (net[2](hidden) * weights).sum().backward()
    expected = (hidden * hidden.grad).sum(dim=1).square().sum(dim=0)

    def passes(after_backward):
        ((net(rows) * weights).sum() / len(rows)).backward()
        after_backward()

    scores = fisher.scores(collected(fisher, net, WIDTH, passes), net, WIDTH)
    torch.testing.assert_close(scores.float(), expected)


@pytest.mark.parametrize("n_pairs", [1, 3, 200])
def test_hessian_removes_one_of_each_pair_of_equal_neurons_first(n_pairs, monkeypatch):
    monkeypatch.setattr(hessian, "DAMPING", 1e-9)
    torch.manual_seed(0)
    size = 2 * n_pairs + 3
    net: Any = nn.Sequential(nn.Linear(size + 5, size), nn.Tanh(), nn.Linear(size, 8)).double()
    with torch.no_grad():
        net[0].weight[n_pairs : 2 * n_pairs] = net[0].weight[:n_pairs]
        net[0].bias[n_pairs : 2 * n_pairs] = net[0].bias[:n_pairs]
    width = Width("hidden", "neuron", size, (Cut("0", "out"),), (Cut("2", "in"),))
    rows = torch.randn(4 * size, size + 5, dtype=torch.float64)
    scores = hessian.scores(collected(hessian, net, width, lambda _: net(rows)), net, width)
    first = scores.argsort()[:n_pairs]
    assert sorted((first % n_pairs).tolist()) == list(range(n_pairs))
    assert (first < 2 * n_pairs).all()
    hidden = net[1](net[0](rows)).detach()
    hidden, matrix, left = hidden - hidden.mean(dim=0), net[2].weight.detach().T, torch.ones(size, dtype=torch.bool)
    left[first] = False
    kept = hidden[:, left]
    solved = matrix[left] + correction(kept.T @ kept, kept.T @ hidden[:, first] @ matrix[first], 1e-9)
    assert (kept @ solved - hidden @ matrix).norm() < 1e-6 * (hidden @ matrix).norm()


@pytest.mark.parametrize("goal", [0.3, 0.5, 0.7])
def test_hard_concrete_reaches_the_sparsity_and_closes_what_does_not_matter(goal):
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, 3))
    with torch.no_grad():
        net[2].weight[:, 50:] *= 0.01
    teacher, width = deepcopy(net), Width("hidden", "neuron", 100, (Cut("0", "out"),), (Cut("2", "in"),))

    def passes(learn):
        for _ in range(300):
            rows = torch.randn(32, 10)
            (net(rows) - teacher(rows)).square().mean().backward()
            learn()
            net.zero_grad()

    state = hard_concrete.start([width], 0)
    with hard_concrete.watching(state, net, [width], goal=goal) as learn:
        passes(learn)
    closed = net[2].weight.norm(dim=0) < 1e-4 * teacher[2].weight.norm(dim=0)
    assert abs(float(closed.float().mean()) - goal) <= 0.01
    assert abs(float(1 - hard_concrete.scores(state, net, width).mean()) - goal) <= 0.01
    assert closed[50:].sum() > 1.5 * closed[:50].sum()


def test_movement_is_how_much_the_weights_of_a_unit_grow():
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    rows = torch.randn(8, 3, dtype=torch.float64)

    def sizes():
        return sum(
            weights.detach().square().sum(dim=dim) / 2 for weights, dim in ((net[0].weight, 1), (net[2].weight, 0))
        )

    before, rate = sizes(), 1e-6

    def passes(after_backward):
        net(rows).square().sum().backward()
        after_backward()
        with torch.no_grad():
            for weights in (net[0].weight, net[2].weight):
                weights -= rate * weights.grad

    scores = movement.scores(collected(movement, net, WIDTH, passes), net, WIDTH)
    grown = (sizes() - before) / rate
    torch.testing.assert_close(scores, grown - grown.min(), rtol=1e-4, atol=1e-4)
