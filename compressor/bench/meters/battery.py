"""The gauge of a battery, while it alone feeds the machine."""

from pathlib import Path

from .. import sysfs
from ..clock import HOST_CLOCK, Clock
from ..errors import InputError
from ..sensors import PowerMeter

PREFERENCE = 6
UPDATE_S = 1.0  # gauges update at 1 Hz or slower


def available(root: Path) -> bool:
    """Tell whether this machine has a battery, in use or not."""
    return bool(_batteries(root))


def open_meter(root: Path, clock: Clock = HOST_CLOCK) -> PowerMeter:
    """Power that the batteries give; a supply that is plugged in would share the load unseen."""
    batteries = _batteries(root)
    if not batteries:
        raise InputError("meter 'battery': no battery under /sys/class/power_supply")
    scope = "whole machine, from its battery"
    return PowerMeter("battery", scope, UPDATE_S, averages=False, watts=lambda: _total_w(batteries), clock=clock)


def _batteries(root: Path) -> list[Path]:
    """Batteries of the machine; those of mice and keyboards have the scope `Device`."""
    supplies = sorted((root / "sys/class/power_supply").glob("*/type"))
    batteries = [path.parent for path in supplies if sysfs.text(path, "battery") == "Battery"]
    return [battery for battery in batteries if not _is_of_device(battery)]


def _is_of_device(battery: Path) -> bool:
    scope = battery / "scope"
    return scope.exists() and sysfs.text(scope, "battery") == "Device"


def _total_w(batteries: list[Path]) -> float:
    """Sum over the batteries that discharge; where there are two, one may rest."""
    states = {battery: sysfs.text(battery / "status", "battery") for battery in batteries}
    discharging = [battery for battery, state in states.items() if state == "Discharging"]
    if not discharging or "Charging" in states.values():
        shown = ", ".join(f"{battery.name} is {state!r}" for battery, state in states.items())
        raise InputError(f"meter 'battery': {shown}; unplug the supply, only a discharging battery shows the power")
    return sum(map(_watts, discharging))


def _watts(battery: Path) -> float:
    """Power, or volts by amperes; some gauges show what flows out as negative."""
    if (battery / "power_now").exists():
        return abs(sysfs.number(battery / "power_now", "battery")) * 1e-6
    volts, amperes = (sysfs.number(battery / name, "battery") * 1e-6 for name in ("voltage_now", "current_now"))
    return volts * abs(amperes)
