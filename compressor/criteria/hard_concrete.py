"""Gates on the units, learnt in training under a penalty on the number of open ones."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from compressor.criteria import AfterBackward, Reads, State, key
from compressor.surgery import Width, layers
from compressor.surgery.gates import gated

READS: Reads = "training"
NEEDS_LABELS = False
OWN_ORDER = False
TIMES_WEIGHTS = False
DEGREE = 1

LOW, HIGH, TEMPERATURE = -0.1, 1.1, 2 / 3  # of the stretched distribution, as in the paper
START = 2.0  # log-odds of a new gate: nearly all are open
LR = 0.1  # of the log-odds, by Adam: gates have a few hundred steps
DECAYS = (0.9, 0.999)  # of Adam's moments
LARGEST = 8.0  # log-odds beyond which a gate would not move any more
BARELY, SHUT = 1e-3, 1e-6  # least value of an open gate, and of a shut one: not zero, as the stage removes units
WARMUP = 100  # steps in which the share of closed gates rises to the goal


def start(widths: Iterable[Width], seed: int) -> State:
    """Begin with open gates, and with nothing learnt."""
    state = {f"importance.{what}": torch.zeros(1, dtype=torch.float64) for what in ("step", "seed")}
    state["importance.seed"] += seed
    for width in widths:
        state[key(width)] = torch.full((width.size,), START, dtype=torch.float64)
        state |= {f"{key(width)}.{what}": torch.zeros(width.size, dtype=torch.float64) for what in ("first", "second")}
    return state


@contextmanager
def watching(state: State, net: nn.Module, widths: Iterable[Width], *, goal: float) -> Iterator[AfterBackward]:
    """Multiply what the consumers read by random gates, and learn their log-odds after each backward pass.

    A gate is closed with a probability that its log-odds give. The penalty on open gates has one multiplier for all,
    which is set after each step so that the expected share of closed gates is the goal; it rises to it in `WARMUP`
    steps. At the end the gates are fixed, with the same share closed, and multiplied into the consumers' weights.

    References
    ----------
    .. [1] C. Louizos, M. Welling, D. Kingma, "Learning sparse neural networks through L0 regularization", 2017,
       arXiv:1712.01312, equations 10 to 13.
    .. [2] M. Xia, Z. Zhong, D. Chen, "Structured pruning learns compact and accurate models", 2022, arXiv:2204.00408.
    """
    judged = list(widths)
    drawn: dict[str, tuple[Tensor, Tensor]] = {}

    def gate(width: Width, inputs: Tensor) -> Tensor:
        if width.name not in drawn:  # one sample for all consumers of a width in a step
            log_odds = state[key(width)].clone().requires_grad_()
            drawn[width.name] = log_odds, _sample(log_odds, _noise(state, width))
        return drawn[width.name][1].to(inputs.device, torch.float32).unsqueeze(0)

    def learn() -> None:
        gradients = {name: log_odds.grad for name, (log_odds, _) in drawn.items() if log_odds.grad is not None}
        drawn.clear()
        state["importance.step"] += 1
        n_steps = float(state["importance.step"])
        for width in judged:
            if width.name in gradients:
                _adam_(state, key(width), gradients[width.name], n_steps)
        _close_(state, judged, goal * min(1.0, n_steps / WARMUP))

    with gated(net, judged, gate):
        yield learn
    if float(state["importance.step"]):
        _fix_(state, net, judged, goal * min(1.0, float(state["importance.step"]) / WARMUP))


def scores(state: Mapping[str, Tensor], net: nn.Module, width: Width) -> Tensor:
    """Give the probability that a gate is open."""
    return _open(state[key(width)])


def _open(log_odds: Tensor) -> Tensor:
    """Probability that a gate is not zero."""
    return torch.sigmoid(log_odds - TEMPERATURE * math.log(-LOW / HIGH))


def _value(log_odds: Tensor) -> Tensor:
    """Value of a gate once it is fixed."""
    return (torch.sigmoid(log_odds) * (HIGH - LOW) + LOW).clamp(0, 1)


def _sample(log_odds: Tensor, uniform: Tensor) -> Tensor:
    logit = uniform.log() - (1 - uniform).log()
    return (torch.sigmoid((logit + log_odds) / TEMPERATURE) * (HIGH - LOW) + LOW).clamp(0, 1)


def _noise(state: State, width: Width) -> Tensor:
    """Draw numbers that depend on the seed, the step and the width alone, so that a phase can be resumed."""
    seed = hash((int(state["importance.seed"]), int(state["importance.step"]), *width.name.encode()))
    generator = torch.Generator().manual_seed(seed % 2**63)
    return torch.rand(width.size, generator=generator, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)


def _adam_(state: State, name: str, gradient: Tensor, n_steps: float) -> None:
    first, second = state[f"{name}.first"], state[f"{name}.second"]
    first.lerp_(gradient, 1 - DECAYS[0])
    second.lerp_(gradient.square(), 1 - DECAYS[1])
    mean, power = first / (1 - DECAYS[0] ** n_steps), second / (1 - DECAYS[1] ** n_steps)
    state[name] -= LR * mean / (power.sqrt() + 1e-12)


def _close_(state: State, widths: Sequence[Width], share: float) -> None:
    """Move all log-odds by the same amount, so that the expected share of closed gates is as asked."""
    every = torch.cat([state[key(width)] for width in widths])
    low, high = -4 * LARGEST, 4 * LARGEST
    for _ in range(50):
        middle = (low + high) / 2
        is_enough = float(1 - _open(every - middle).mean()) >= share
        low, high = (low, middle) if is_enough else (middle, high)
    for width in widths:
        state[key(width)].sub_(max(high, 0.0)).clamp_(-LARGEST, LARGEST)


@torch.no_grad()
def _fix_(state: State, net: nn.Module, widths: Sequence[Width], goal: float) -> None:
    """Multiply the values of the gates into the weights; as many are shut as are expected to be, those least open."""
    every = torch.cat([state[key(width)] for width in widths])
    n_closed = round(goal * len(every))
    values = _value(every).clamp(min=BARELY)
    values[every.argsort(stable=True)[:n_closed]] = SHUT
    for width, own in zip(widths, values.split([width.size for width in widths]), strict=True):
        for cut in width.consumers:
            weights = layers.weights(net, width, cut)
            weights.mul_(own.to(weights).view(-1, *[1] * (weights.ndim - 1)))
