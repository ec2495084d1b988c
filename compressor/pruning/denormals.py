"""Numbers near zero that are slow to compute with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flushing_denormals() -> Iterator[None]:
    """While open, numbers too small for full precision count as zero: they cost some 100 times as much as others."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
