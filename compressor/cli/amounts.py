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
    match = re.fullmatch(NUMBER + "(%?)", text)
    if not match:
        raise click.BadParameter(f"should be a share such as 2% or 0.02, got {text!r}")
    if not match[2] and float(match[1]) >= 1:
        raise click.BadParameter(f"should be a share such as 2% or 0.02, got {text!r}; write {text.strip()}%")
    return float(match[1]) / (100 if match[2] else 1)


def seconds(text: str) -> float:
    """Read a time in seconds.

    Examples
    --------
    >>> [seconds(text) for text in ("10s", "10", "1.5 min")]
    [10.0, 10.0, 90.0]
    """
    match = re.fullmatch(NUMBER + "([a-z]*)", text)
    if not match or match[2] not in UNITS_S or not float(match[1]):
        raise click.BadParameter(f"should be a time such as 10s or 1min, got {text!r}")
    return float(match[1]) * UNITS_S[match[2]]


def input_shape(text: str) -> tuple[str, list[int]]:
    """Read the shape of an input.

    Examples
    --------
    >>> input_shape("images=1x3x320x320"), input_shape("input_ids:0=1x16")
    (('images', [1, 3, 320, 320]), ('input_ids:0', [1, 16]))
    """
    name, _, sizes = text.rpartition("=")
    if not name or not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8})*", sizes):
        raise click.BadParameter(f"should be NAME=1x3x320x320, got {text!r}")
    return name, [int(size) for size in sizes.split("x")]


class Finite(click.FloatRange):
    """A number within bounds that is neither infinite nor nan."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"should be a finite number, got {value!r}", param, ctx)
        return number


def n_bytes(text: str) -> int:
    """Read an amount of memory in bytes.

    Examples
    --------
    >>> [n_bytes(text) for text in ("512MiB", "1 kB", "1.5GiB", "4096")]
    [536870912, 1000, 1610612736, 4096]
    """
    match = re.fullmatch(NUMBER + "([A-Za-z]*)", text)
    if not match or match[2] not in UNITS_BYTES or not float(match[1]):
        raise click.BadParameter(f"should be an amount of memory such as 512MiB, got {text!r}")
    return round(float(match[1]) * UNITS_BYTES[match[2]])
