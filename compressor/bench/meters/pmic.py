"""The power management chip of the Raspberry Pi 5, through its firmware."""

import re
from pathlib import Path

from .. import vcgencmd
from ..clock import HOST_CLOCK, Clock
from ..errors import InputError
from ..sensors import PowerMeter

PREFERENCE = 5
QUESTION = "pmic_read_adc"
READING = re.compile(r"(\w+)_([AV])\s+\w+\(\d+\)=([\d.]+)[AV]")
UPDATE_S = 0.2  # each reading starts a program, which takes some milliseconds of a core
SLOPE, OFFSET_W = 1.1451, 0.5879
"""Board power from the sum of the rails, fitted against a USB-C meter (github.com/jfikar/RPi5-power).

The rails miss the losses of their converters and what hangs on the 5 V line."""


def available(root: Path) -> bool:
    """Tell whether the firmware can be asked; boards before the Pi 5 answer without currents."""
    return vcgencmd.available(root)


def open_meter(root: Path, clock: Clock = HOST_CLOCK, ask: vcgencmd.Ask = vcgencmd.ask) -> PowerMeter:
    """Power of the whole board, as the published correction finds it from the rails."""
    if not available(root):
        raise InputError("meter 'pmic': no vcgencmd in /usr/bin; this is no Raspberry Pi, or lacks raspi-utils")

    def watts() -> float:
        try:
            return board_w(ask(QUESTION, root))
        except InputError as error:
            raise InputError(f"meter 'pmic': {error}") from error

    return PowerMeter("pmic", "board, from the rails of its PMIC", UPDATE_S, averages=False, watts=watts, clock=clock)


def board_w(readings: str) -> float:
    """Watts of the board from the text of `pmic_read_adc`.

    Examples
    --------
    >>> round(board_w("VDD_CORE_A current(7)=2.0A VDD_CORE_V volt(15)=0.75V EXT5V_V volt(24)=5.1V"), 3)
    2.306
    """
    by_unit: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for rail, unit, value in READING.findall(readings):
        by_unit[unit][rail] = float(value)
    amperes, volts = by_unit["A"], by_unit["V"]
    if not amperes or not amperes.keys() <= volts.keys():
        raise InputError(f"'vcgencmd {QUESTION}' shows no currents; only the Raspberry Pi 5 measures them")
    return SLOPE * sum(amperes[rail] * volts[rail] for rail in amperes) + OFFSET_W
