"""A meter between the supply and the board, which another machine records: joules come later, from its CSV."""

import math
from pathlib import Path

PREFERENCE = 9


def available(root: Path) -> bool:
    """Nothing on this machine shows it: it is used only if a plan asks for it."""
    return False


def open_meter(root: Path) -> "Marks":
    """Let the work run as for any meter; `trace.joined` gives its joules afterwards."""
    return Marks()


class Marks:
    """No sensor at all: the start and the stop of every window are kept, its joules are not a number."""

    name = "external"
    scope = "whole board, at its supply"
    update_s = 0.01
    averages = True

    def __enter__(self) -> "Marks":
        """Nothing to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def joules(self) -> float:
        """Not known yet."""
        return math.nan
