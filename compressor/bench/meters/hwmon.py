"""Energy counters of hwmon chips: sockets of AMD servers, controllers of boards and hot-swap supplies."""

from pathlib import Path

from .. import sysfs
from ..errors import InputError
from ..sensors import CounterMeter

PREFERENCE = 2
UPDATE_S = 0.1  # `amd_energy` accumulates more often; the idle baseline finds chips that are slower
GPUS = {"amdgpu", "i915", "nouveau", "xe"}  # their joules are not the processor's
SOCKET = "Esocket"


def available(root: Path) -> bool:
    """Tell whether a chip counts energy, readable or not."""
    return bool(_counters(root))


def open_meter(root: Path) -> CounterMeter:
    """Joules of one kind of chip, all of its kind together."""
    counters = _counters(root)
    if not counters:
        raise InputError("meter 'hwmon': no chip under /sys/class/hwmon has an energy counter")
    chip = sysfs.text(counters[0].parent / "name", "hwmon")
    labels = ", ".join(_label(path) for path in counters)
    return CounterMeter("hwmon", f"{chip}: {labels}", UPDATE_S, {path: _range_uj(path) for path in counters})


def _counters(root: Path) -> list[Path]:
    """Counters of the chips whose name comes first; two kinds of chips may see the same joules."""
    by_name: dict[str, list[Path]] = {}
    for chip in sysfs.chips(root):
        by_name.setdefault(sysfs.text(chip / "name", "hwmon"), []).extend(sorted(chip.glob("energy*_input")))
    counters = next((by_name[name] for name in sorted(by_name) if by_name[name] and name not in GPUS), [])
    sockets = [path for path in counters if _label(path).startswith(SOCKET)]  # each contains its cores
    return sockets or counters


def _range_uj(path: Path) -> int:
    """Guess where a counter wraps around: hwmon does not say, but the registers have 32 or 64 bits."""
    return 1 << (32 if sysfs.number(path, "hwmon") < 1 << 32 else 64)


def _label(path: Path) -> str:
    return sysfs.label(path, "hwmon", path.name.removesuffix("_input"))
