"""What the numbers were taken on: processor, versions, date."""

import os
import platform
import re
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import onnxruntime as ort

from . import sysfs
from .result import Cpu, Host


def environment(root: Path = Path("/")) -> Host:
    """Describe this machine; the same keys as `environment` in a run's `run.json`."""
    emulated = is_emulated(root)  # the sensors seen there are those of the host
    return {
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "onnxruntime": ort.__version__},
        "cpu": cpu(root),
        "n_cores": os.cpu_count(),
        "governor": None if emulated else governor(root),
        "temperature_c": None if emulated else temperature_c(root),
        "is_emulated": emulated,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def cpu(root: Path = Path("/")) -> Cpu:
    """Name the processor and its instruction sets, on x86 and on ARM."""
    info, tree = root / "proc/cpuinfo", root / "proc/device-tree/model"
    text = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    board = tree.read_text(encoding="utf-8", errors="replace").strip("\0\n") if tree.exists() else ""
    model = board or _entry("model name", text) or platform.processor() or platform.machine()
    return {"model": model, "flags": sorted((_entry("flags", text) or _entry("Features", text)).split())}


def governor(root: Path = Path("/")) -> str | None:
    """Frequency governor of the first core; None where the kernel does not show one."""
    path = root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    return path.read_text(encoding="ascii").strip() if path.exists() else None


def temperature_c(root: Path = Path("/")) -> float | None:
    """Highest temperature of any part; None where the kernel does not show one."""
    temperatures = sysfs.readable_numbers((root / "sys/class/thermal").glob("thermal_zone*/temp"))
    return max(temperatures) / 1e3 if temperatures else None


def is_emulated(root: Path = Path("/")) -> bool:
    """Tell whether QEMU's user mode runs this program for another processor.

    QEMU answers for `/proc/self/exe` itself, with the emulated program, and leaves `/proc/thread-self/exe` to the
    kernel, which answers with QEMU (7.2 and 10.0, started by name or by binfmt_misc). Natively both are the same.
    """
    told, running = root / "proc/self/exe", root / "proc/thread-self/exe"
    try:
        return told.readlink() != running.readlink()
    except OSError:  # not Linux, or no /proc
        return False


def _entry(key: str, text: str) -> str:
    match = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
    return match[1].strip() if match else ""
