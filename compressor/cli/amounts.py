"""Amounts as a person writes them on a command line: 2%, 0.02, 10s, 1.5min, 512MiB."""

import math
import re
from typing import Any

import click

UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
UNITS_BYTES = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
NUMBER = r"(\d+\.?\d*|\.\d+)\s*"


def percent(text: str) -> float:
    """Read a share as a fraction.

    Examples
    --------
    >>> [percent(text) for text in ("2%", "0.5 %", "0.02")]
    [0.02, 0.005, 0.02]

    A bare number from 1 on is refused: who forgets the sign means percent.
    """
    found = re.fullmatch(NUMBER + "(%?)", text)
    if not found:
        raise click.BadParameter(f"should be a share such as 2% or 0.02, got {text!r}")
    if not found[2] and float(found[1]) >= 1:
        raise click.BadParameter(f"should be a share such as 2% or 0.02, got {text!r}; write {text.strip()}%")
    return float(found[1]) / (100 if found[2] else 1)


def seconds(text: str) -> float:
    """Read a time in seconds.

    Examples
    --------
    >>> [seconds(text) for text in ("10s", "10", "1.5 min")]
    [10.0, 10.0, 90.0]
    """
    found = re.fullmatch(NUMBER + "([a-z]*)", text)
    if not found or found[2] not in UNITS_S or not float(found[1]):
        raise click.BadParameter(f"should be a time such as 10s or 1min, got {text!r}")
    return float(found[1]) * UNITS_S[found[2]]


class Finite(click.FloatRange):
    """A number within bounds that is neither infinite nor nan."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"should be a finite number, got {value!r}", param, ctx)
        return found


def n_bytes(text: str) -> int:
    """Read an amount of memory in bytes.

    Examples
    --------
    >>> [n_bytes(text) for text in ("512MiB", "1 kB", "1.5GiB", "4096")]
    [536870912, 1000, 1610612736, 4096]
    """
    found = re.fullmatch(NUMBER + "([A-Za-z]*)", text)
    if not found or found[2] not in UNITS_BYTES or not float(found[1]):
        raise click.BadParameter(f"should be an amount of memory such as 512MiB, got {text!r}")
    return round(float(found[1]) * UNITS_BYTES[found[2]])
