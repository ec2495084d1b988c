"""Diagonal of the empirical Fisher information of a mask over the units."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compressor.criteria import AfterBackward, Reads, State, key, zeros
from compressor.surgery import Width
from compressor.surgery.gates import gated, n_examples_of

READS: Reads = "backward"
NEEDS_LABELS = False
OWN_ORDER = False
TIMES_WEIGHTS = False
DEGREE = 2


def start(widths: Iterable[Width], seed: int) -> State:
    """Begin with zero for each unit."""
    return zeros(widths)


@contextmanager
def watching(state: State, net: nn.Module, widths: Iterable[Width], *, goal: float) -> Iterator[AfterBackward]:
    """Add the squared derivative of each example's loss by a mask that multiplies the unit's output.

    The mask is one everywhere, so the network computes what it did. For a likelihood, and a network that fits it, the
    mean of these squares is the second derivative of the loss by the mask: half of it is what the loss grows by, to
    second order, if the unit is removed. The loss must be a mean over examples that do not influence each other.

    References
    ----------
    .. [1] Y. LeCun, J. Denker, S. Solla, "Optimal brain damage", 1990, Advances in Neural Information Processing
       Systems 2.
    .. [2] W. Kwon, S. Kim, M. Mahoney, J. Hassoun, K. Keutzer, A. Gholami, "A fast post-training pruning framework for
       transformers", 2022, arXiv:2204.09656, section 4.1.
    """
    judged, masks, n_examples = list(widths), list[tuple[Width, Tensor]](), [1]

    def mask(width: Width, inputs: Tensor) -> Tensor:
        ones = inputs.new_ones(len(inputs), width.size, dtype=torch.float32 if inputs.dtype.itemsize < 4 else None)
        masks.append((width, ones.requires_grad_()))
        return ones

    def count(_: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        n_examples[0] = n_examples_of(args, kwargs)
        masks.clear()

    def add() -> None:
        totals: dict[str, Tensor] = {}
        for width, ones in masks:  # a layer may be called several times, and a width read by several layers
            if ones.grad is not None:
                own = _by_example(ones.grad.double().cpu(), n_examples[0])
                totals[key(width)] = totals.get(key(width), 0) + own
        for name, total in totals.items():
            state[name] += (total * n_examples[0]).square().sum(dim=0)  # the loss is a mean over examples
        masks.clear()

    with ExitStack() as stack:
        stack.callback(net.register_forward_pre_hook(count, with_kwargs=True).remove)
        stack.enter_context(gated(net, judged, mask))
        yield add


def scores(state: Mapping[str, Tensor], net: nn.Module, width: Width) -> Tensor:
    """Give the sums over examples."""
    return state[key(width)]


def _by_example(gradient: Tensor, n_examples: int) -> Tensor:
    """Sum over the parts of an example: a window attention makes several rows of each image."""
    if len(gradient) % n_examples:
        return gradient
    return gradient.view(n_examples, -1, gradient.shape[1]).sum(dim=1)
