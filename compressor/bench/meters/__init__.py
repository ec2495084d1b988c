"""Energy meters, one family of sensors per file: each defines what `MeterFile` names, and opens a `Meter`."""

from pathlib import Path
from typing import Protocol


class Meter(Protocol):
    """A sensor at work."""

    @property
    def name(self) -> str:
        """The word by which plans and recipes ask for it."""

    @property
    def scope(self) -> str:
        """What its joules cover."""

    @property
    def update_s(self) -> float:
        """Seconds between two updates."""

    @property
    def averages(self) -> bool:
        """Whether it misses nothing between two updates, as a counter does."""

    def __enter__(self) -> "Meter":
        """Open the sensor and start counting."""

    def __exit__(self, *_: object) -> None:
        """Close the sensor."""

    def joules(self) -> float:
        """Energy since `__enter__`; never decreases. Not a number if another machine knows it."""


class MeterFile(Protocol):
    """What a file in this folder defines."""

    PREFERENCE: int
    """Place in the order in which ``auto`` tries the meters; the lowest comes first."""

    def available(self, root: Path) -> bool:
        """Whether the sensors are on this machine, readable or not; ``root`` is ``/``, except in tests."""

    def open_meter(self, root: Path) -> Meter:
        """Give the meter, not yet started; InputError if it is not there or cannot be read."""
