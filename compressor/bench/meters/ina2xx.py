"""INA219, INA226 and their kin: monitors of one rail, on boards and on add-on boards."""

from functools import partial
from pathlib import Path

from .. import sysfs
from ..clock import HOST_CLOCK, Clock
from ..errors import InputError
from ..sensors import PowerMeter, Rail, rails_meter

PREFERENCE = 4
CHIPS = {"ina219", "ina220", "ina226", "ina228", "ina230", "ina231", "ina233", "ina234", "ina237", "ina238", "ina260"}


def available(root: Path) -> bool:
    """Tell whether there is such a chip."""
    return bool(_powers(root))


def open_meter(root: Path, clock: Clock = HOST_CLOCK) -> PowerMeter:
    """Power of the board's input where a label names it, else of all chips together."""
    powers = _powers(root)
    if not powers:
        raise InputError("meter 'ina2xx': no INA219, INA226 or kin with power1_input under /sys/class/hwmon")
    return rails_meter("ina2xx", [_rail(path) for path in powers], max(map(_update_s, powers)), clock)


def _powers(root: Path) -> list[Path]:
    chips = [chip for chip in sysfs.chips(root) if sysfs.text(chip / "name", "ina2xx") in CHIPS]
    return [chip / "power1_input" for chip in chips if (chip / "power1_input").exists()]


def _rail(power: Path) -> Rail:
    """Name a rail by the label of its power or of its voltage, else by its chip."""
    chip = sysfs.text(power.parent / "name", "ina2xx")
    of_voltage = sysfs.label(power.with_name("in1_input"), "ina2xx", chip)
    return Rail(sysfs.label(power, "ina2xx", of_voltage), partial(_watts, power))


def _watts(microwatts: Path) -> float:
    return sysfs.number(microwatts, "ina2xx") * 1e-6


def _update_s(power: Path) -> float:
    """Time that the chip takes for one average; not every driver tells."""
    interval = power.with_name("update_interval")
    return sysfs.number(interval, "ina2xx") * 1e-3 if interval.exists() else 0.0
