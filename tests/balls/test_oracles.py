"""Every ball against other ways to find the same point: bisection, sorting, a conic solver."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from compressor import balls
from compressor.plugins import discover

BALLS = discover(balls, balls.Ball)
CONIC = json.loads(Path(__file__).with_name("conic.json").read_text())

KINDS = {
    "gaussian": lambda generator, shape: generator.standard_normal(shape),
    "heavy tails": lambda generator, shape: generator.standard_t(1.5, shape),
    "ties": lambda generator, shape: generator.integers(-2, 3, shape).astype(float),
    "constant": lambda generator, shape: np.full(shape, -2.5),
    "wide range": lambda generator, shape: 10.0 ** generator.uniform(-9, 3, shape),
    "dead groups": lambda generator, shape: generator.standard_normal(shape) * (generator.random(shape[-1]) < 0.5),
}


def weighted(name, shape, generator):
    if name in ("l2", "l_inf", "nuclear"):
        return None
    groups = {"l1": shape, "l1_inf_inf": shape[:1], "l1_1_1": shape[:1]}.get(name, shape[-1:])
    return generator.uniform(0.3, 3, groups)


def root(decreasing, high):
    """Where a decreasing function that is positive at 0 and not at `high` is zero."""
    return brentq(decreasing, 0.0, high, xtol=1e-300, rtol=4 * np.finfo(float).eps, maxiter=1000)


def simplex(values, weights, radius):
    """Non-negative values, projected onto sum(weights * values) <= radius."""
    if weights @ values <= radius:
        return values
    threshold = root(lambda level: weights @ (values - level * weights).clip(0) - radius, (values / weights).max())
    return (values - threshold * weights).clip(0)


def l1(tensor, radius, weights):
    return np.sign(tensor) * simplex(np.abs(tensor).ravel(), weights.ravel(), radius).reshape(tensor.shape)


def l1_2(matrix, radius, weights):
    lengths = np.sqrt((matrix**2).sum(0))
    return matrix * np.divide(simplex(lengths, weights, radius), lengths, out=np.zeros_like(lengths), where=lengths > 0)


def l1_inf(matrix, radius, weights):
    caps = simplex(np.abs(matrix).max(0), weights, radius)
    return matrix.clip(-caps, caps)


def l1_1(matrix, radius, weights):
    lengths = simplex(np.abs(matrix).sum(0), weights, radius)
    ones = np.ones(len(matrix))
    return np.stack([l1(column, length, ones) for column, length in zip(matrix.T, lengths, strict=True)], axis=1)


def l1_inf_exact(matrix, radius, weights):
    """Caps of each column from its sorted prefixes, the threshold common to them by bisection."""
    if weights @ np.abs(matrix).max(0) <= radius:
        return matrix
    prefixes = np.flip(np.sort(np.abs(matrix), axis=0), axis=0).cumsum(0)
    counts = np.arange(1, len(matrix) + 1)[:, None]

    def caps(threshold):
        return ((prefixes - threshold * weights) / counts).max(0).clip(0)

    found = caps(root(lambda level: weights @ caps(level) - radius, (prefixes[-1] / weights).max()))
    return matrix.clip(-found, found)


def l1_inf_inf(tensor, radius, weights):
    flat = tensor.reshape(len(tensor), -1).T
    return l1_inf(flat, radius, weights).T.reshape(tensor.shape)


def l1_1_1(tensor, radius, weights):
    outer = simplex(np.abs(tensor).sum((1, 2)), weights, radius)
    ones = np.ones(tensor.shape[1])
    return np.stack([l1_1(matrix.T, length, ones).T for matrix, length in zip(tensor, outer, strict=True)])


def l2(tensor, radius, weights):
    return tensor if (tensor**2).sum() <= radius**2 else tensor * radius / np.sqrt((tensor**2).sum())


def l_inf(tensor, radius, weights):
    return tensor.clip(-radius, radius)


def nuclear(matrix, radius, weights):
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return left * simplex(values, np.ones_like(values), radius) @ right


ORACLES = {name: globals()[name] for name in BALLS}


@pytest.mark.parametrize("name", BALLS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("has_weights", [False, True])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-10), (torch.float32, 2e-6)])
def test_agrees_with_bisection(name, kind, has_weights, dtype, rtol):
    generator = np.random.default_rng(0)
    shapes = [(7, 5, 11), (1, 3, 2)] if name in ("l1_inf_inf", "l1_1_1") else [(40, 70), (1500, 12), (5, 1)]
    for shape in shapes:
        array = KINDS[kind](generator, shape).astype(np.float32 if dtype == torch.float32 else np.float64)
        weights = weighted(name, shape, generator)
        if has_weights and weights is None:
            pytest.skip(f"{name} takes no weights")
        options: dict[str, Any] = {"weights": torch.from_numpy(weights)} if has_weights else {}
        tensor = torch.from_numpy(array)
        norm = float(BALLS[name].norm(tensor.double(), **options))
        for share in (1e-4, 0.05, 0.4, 0.95):
            projected = BALLS[name].project(tensor, share * norm, **options)
            factors = weights if has_weights else None if weights is None else np.ones_like(weights)
            expected = ORACLES[name](array.astype(np.float64), share * norm, factors)
            atol = rtol * float(tensor.abs().max())
            np.testing.assert_allclose(projected.double().numpy(), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("case", CONIC, ids=lambda case: f"{case['ball']}-{case['kind']}")
def test_agrees_with_a_conic_solver(case):
    matrix = torch.tensor(case["matrix"], dtype=torch.float64)
    options: dict[str, Any] = (
        {} if case["weights"] is None else {"weights": torch.tensor(case["weights"], dtype=torch.float64)}
    )
    projected = BALLS[case["ball"]].project(matrix, case["radius"], **options)
    torch.testing.assert_close(projected, torch.tensor(case["point"], dtype=torch.float64), rtol=0, atol=2e-6)


def test_every_exact_ball_met_the_conic_solver():
    assert {case["ball"] for case in CONIC} == {name for name, ball in BALLS.items() if ball.EXACT}
