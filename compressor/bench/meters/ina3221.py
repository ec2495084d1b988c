"""INA3221 monitors of Jetson boards: three rails each, volts and amperes apart."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .. import sysfs
from ..clock import HOST_CLOCK, Clock
from ..errors import InputError
from ..sensors import PowerMeter, Rail, rails_meter

PREFERENCE = 3
CHANNELS = (1, 2, 3)  # further inputs repeat them: their sum, and the shunts
UNCONNECTED = "NC"
OLD_DRIVER = "sys/bus/i2c/drivers/ina3221x"


def available(root: Path) -> bool:
    """Tell whether there is such a chip, under the driver of today or the one of L4T before 32.7."""
    return bool(_chips(root)) or any(_old_powers(root))


def open_meter(root: Path, clock: Clock = HOST_CLOCK) -> PowerMeter:
    """Power of the board's input where a label names it, else of all rails."""
    rails = [rail for chip in _chips(root) for rail in _rails(chip)] or [_old_rail(path) for path in _old_powers(root)]
    if not rails:
        raise InputError("meter 'ina3221': no INA3221 with a connected rail under /sys/class/hwmon")
    update_s = max([_update_s(chip) for chip in _chips(root)], default=0.0)
    return rails_meter("ina3221", rails, update_s, clock)


def _chips(root: Path) -> list[Path]:
    return [chip for chip in sysfs.chips(root) if sysfs.text(chip / "name", "ina3221") == "ina3221"]


def _rails(chip: Path) -> Iterator[Rail]:
    """Channels that are switched on and connected."""
    for k in CHANNELS:
        volts, amperes, enabled = (chip / name for name in (f"in{k}_input", f"curr{k}_input", f"in{k}_enable"))
        label = sysfs.label(volts, "ina3221", f"channel {k}")
        is_off = enabled.exists() and sysfs.number(enabled, "ina3221") == 0
        if amperes.exists() and label != UNCONNECTED and not is_off:
            yield Rail(label, partial(_watts, volts, amperes))


def _watts(millivolts: Path, milliamperes: Path) -> float:
    return sysfs.number(millivolts, "ina3221") * sysfs.number(milliamperes, "ina3221") * 1e-6


def _update_s(chip: Path) -> float:
    """Time that the chip takes for one average of all its channels."""
    interval = chip / "update_interval"
    return sysfs.number(interval, "ina3221") * 1e-3 if interval.exists() else 0.0


def _old_powers(root: Path) -> list[Path]:
    return sorted((root / OLD_DRIVER).glob("*/iio:device*/in_power[0-2]_input"))


def _old_rail(milliwatts: Path) -> Rail:
    k = milliwatts.name.removeprefix("in_power").removesuffix("_input")
    label = sysfs.text(milliwatts.with_name(f"rail_name_{k}"), "ina3221")
    return Rail(label, lambda: sysfs.number(milliwatts, "ina3221") * 1e-3)
