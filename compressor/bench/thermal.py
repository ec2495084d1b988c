"""Whether something slowed the processor down: governor, frequency, temperature, throttling."""

from pathlib import Path
from typing import TypedDict

from . import host, sysfs, vcgencmd
from .errors import InputError
from .result import HostState

CPUS = "sys/devices/system/cpu"
FIRMWARE_BITS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
SINCE_BOOT = 16  # the same bits again, from here on, stay set until the next boot


class Firmware(TypedDict):
    """What the firmware of a Raspberry Pi says of throttling, or why it says nothing."""

    firmware_bits: int | None
    firmware_error: str | None


def state(root: Path = Path("/"), ask: vcgencmd.Ask = vcgencmd.ask) -> HostState:
    """Describe the moment; None for what this machine does not show."""
    frequencies_khz = sysfs.readable_numbers((root / CPUS).glob("cpu*/cpufreq/scaling_cur_freq"))
    throttles = sysfs.readable_numbers((root / CPUS).glob("cpu*/thermal_throttle/*_throttle_count"))
    return {
        "governor": host.governor(root),
        "frequency_mhz": sum(frequencies_khz) / len(frequencies_khz) / 1e3 if frequencies_khz else None,
        "temperature_c": host.temperature_c(root),
        "n_throttles": sum(throttles) if throttles else None,
        **_firmware(root, ask),
    }


def complaints(before: HostState, after: HostState) -> list[str]:
    """Say what slowed the processor down between two states."""
    rise = (after["n_throttles"] or 0) - (before["n_throttles"] or 0)
    causes = [f"the processor throttled: its counters rose by {rise}"] if rise > 0 else []
    old, new = before["firmware_bits"] or 0, after["firmware_bits"] or 0
    since = (new >> SINCE_BOOT) & ~(old >> SINCE_BOOT) | new
    causes += [f"firmware: {word}" for bit, word in enumerate(FIRMWARE_BITS) if since >> bit & 1]
    return causes + ([f"throttling is unknown: {after['firmware_error']}"] if after["firmware_error"] else [])


def _firmware(root: Path, ask: vcgencmd.Ask) -> Firmware:
    """Throttling of a Raspberry Pi, which its kernel does not show; asking may be forbidden."""
    if not vcgencmd.available(root):
        return {"firmware_bits": None, "firmware_error": None}
    try:
        answer = ask("get_throttled", root)
        return {"firmware_bits": int(answer.strip().removeprefix("throttled="), 16), "firmware_error": None}
    except (InputError, ValueError) as error:
        return {"firmware_bits": None, "firmware_error": str(error)}
