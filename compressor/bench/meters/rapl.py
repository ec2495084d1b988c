"""RAPL energy counters of Intel and AMD processors, through Linux's powercap."""

from pathlib import Path
from typing import Self

from ..errors import InputError

POWERCAP = "sys/class/powercap"


class Meter:
    """Joules of all processor packages, and of the memory where it is counted apart.

    A package contains its cores and graphics, and `psys` contains the packages, so none of
    them is added; `intel-rapl-mmio` shows the same counters a second time.
    """

    update_s = 0.001
    """Seconds between two updates of the counters."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._zones = _zones(root)
        self._ranges: list[int] = []
        self._last: list[int] = []
        self._total_uj = 0
        self.scope = _scope([_name(zone) for zone in self._zones])

    @classmethod
    def available(cls, root: Path = Path("/")) -> bool:
        """Tell whether this machine has the counters, readable or not."""
        return bool(_zones(root))

    def __enter__(self) -> Self:
        """Read every counter once; one that is missing or forbidden is found here."""
        if not self._zones:
            raise InputError("meter 'rapl': no counters under /sys/class/powercap (virtual machines have none)")
        self._ranges = [int((zone / "max_energy_range_uj").read_text(encoding="ascii")) for zone in self._zones]
        self._last, self._total_uj = self._read(), 0
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing stays open between two readings."""

    def joules(self) -> float:
        """Energy since `__enter__`; a counter that wrapped around since the last reading is carried on."""
        now = self._read()
        for last, new, full in zip(self._last, now, self._ranges, strict=True):
            self._total_uj += new - last if new >= last else new - last + full
        self._last = now
        return self._total_uj * 1e-6

    def _read(self) -> list[int]:
        return [_counter(zone / "energy_uj") for zone in self._zones]


def _zones(root: Path) -> list[Path]:
    """Zones that add up without counting anything twice."""
    zones = sorted((root / POWERCAP).glob("intel-rapl:*"))
    return [zone for zone in zones if _name(zone).startswith("package") or _name(zone) == "dram"]


def _scope(names: list[str]) -> str:
    """Say what the joules cover."""
    n_packages = sum(name.startswith("package") for name in names)
    packages = "cpu package" if n_packages == 1 else f"{n_packages} cpu packages"
    return f"{packages} and memory" if "dram" in names else packages


def _name(zone: Path) -> str:
    return (zone / "name").read_text(encoding="ascii").strip()


def _counter(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except PermissionError as error:
        raise InputError(
            f"meter 'rapl': {path} is readable by root only; run as root, or allow it with 'chmod a+r' as root"
        ) from error
    except OSError as error:
        raise InputError(f"meter 'rapl': {path} vanished or cannot be read: {error.strerror}") from error
