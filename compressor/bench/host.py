"""What the numbers were taken on: processor, versions, date."""

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort


def environment(root: Path = Path("/")) -> dict[str, Any]:
    """Describe this machine; the same keys as `environment` in a run's `run.json`."""
    return {
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "onnxruntime": ort.__version__},
        "cpu": cpu(root),
        "n_cores": os.cpu_count(),
        "governor": governor(root),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def cpu(root: Path = Path("/")) -> dict[str, Any]:
    """Name the processor and its instruction sets, on x86 and on ARM."""
    info, tree = root / "proc/cpuinfo", root / "proc/device-tree/model"
    text = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    board = tree.read_text(encoding="utf-8", errors="replace").strip("\0\n") if tree.exists() else ""
    model = _entry("model name", text) or board or platform.processor() or platform.machine()
    return {"model": model, "flags": sorted((_entry("flags", text) or _entry("Features", text)).split())}


def governor(root: Path = Path("/")) -> str | None:
    """Frequency governor of the first core; None where the kernel does not show one."""
    path = root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    return path.read_text(encoding="ascii").strip() if path.exists() else None


def _entry(key: str, text: str) -> str:
    found = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
