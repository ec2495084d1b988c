"""RAPL energy counters of Intel and AMD processors, through Linux's powercap."""

from pathlib import Path

from .. import sysfs
from ..errors import InputError
from ..sensors import CounterMeter

PREFERENCE = 1
POWERCAP = "sys/class/powercap"
UPDATE_S = 0.001


def available(root: Path) -> bool:
    """Tell whether this machine has the counters, readable or not."""
    return any((root / POWERCAP).glob("intel-rapl:*"))


def open_meter(root: Path) -> CounterMeter:
    """Joules of all processor packages, and of the memory where it is counted apart."""
    zones = _zones(root)
    if not zones:
        raise InputError("meter 'rapl': no counters under /sys/class/powercap (virtual machines have none)")
    ranges = {zone / "energy_uj": sysfs.number(zone / "max_energy_range_uj", "rapl") for zone in zones}
    return CounterMeter("rapl", _scope([_label(zone) for zone in zones]), UPDATE_S, ranges)


def _zones(root: Path) -> list[Path]:
    """Zones that add up without counting anything twice.

    A package contains its cores and graphics, and `psys` contains the packages, so none of
    them is added; `intel-rapl-mmio` shows the same counters a second time.
    """
    zones = sorted((root / POWERCAP).glob("intel-rapl:*"))
    hidden = next((zone for zone in zones if not zone.exists()), None)
    if hidden:
        raise InputError(f"meter 'rapl': {hidden} leads nowhere; container runtimes hide the counters, measure outside")
    return [zone for zone in zones if _label(zone).startswith("package") or _label(zone) == "dram"]


def _scope(labels: list[str]) -> str:
    """Say what the joules cover."""
    n_packages = sum(label.startswith("package") for label in labels)
    packages = "cpu package" if n_packages == 1 else f"{n_packages} cpu packages"
    return f"{packages} and memory" if "dram" in labels else packages


def _label(zone: Path) -> str:
    return sysfs.text(zone / "name", "rapl")
