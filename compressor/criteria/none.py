"""The weights alone: units with small weights go first."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from compressor.criteria import AfterBackward, Reads, State
from compressor.surgery import Width

READS: Reads = "weights"
NEEDS_LABELS = False
OWN_ORDER = False
TIMES_WEIGHTS = True
DEGREE = 1


def start(widths: Iterable[Width], seed: int) -> State:
    """Collect nothing."""
    return {}


@contextmanager
def watching(state: State, net: nn.Module, widths: Iterable[Width], *, goal: float) -> Iterator[AfterBackward]:
    """Collect nothing."""
    yield lambda: None


def scores(state: Mapping[str, Tensor], net: nn.Module, width: Width) -> Tensor:
    """Score every unit alike, so that the norms of their weights decide."""
    return torch.ones(width.size, dtype=torch.float64)
