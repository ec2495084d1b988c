"""Read the small text files by which Linux shows sensors, with errors that name the meter."""

from collections.abc import Iterable
from pathlib import Path

from .errors import InputError


def text(path: Path, meter: str) -> str:
    """Content of a file, without the newline at its end."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip("\n\0 ")
    except PermissionError as error:
        raise InputError(
            f"meter {meter!r}: {path} is readable by root only; run as root, or allow it with 'chmod a+r' as root"
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"meter {meter!r}: {path} is missing or has vanished") from error
    except OSError as error:  # a chip that is off or unplugged answers with ENODEV, ENODATA or EIO
        raise InputError(f"meter {meter!r}: {path} cannot be read: {error.strerror}") from error


def number(path: Path, meter: str) -> int:
    """Whole number that a file holds."""
    content = text(path, meter)
    try:
        return int(content)
    except ValueError as error:
        raise InputError(f"meter {meter!r}: {path} should hold a number, got {content!r}") from error


def chips(root: Path) -> list[Path]:
    """Folders of all hwmon chips; their numbers change between boots, so that the order means nothing."""
    return sorted(path for path in (root / "sys/class/hwmon").glob("hwmon*") if (path / "name").exists())


def label(path: Path, meter: str, otherwise: str) -> str:
    """Label beside an input such as `in1_input`, where the chip has one."""
    beside = path.with_name(path.name.replace("_input", "_label"))
    return text(beside, meter) if beside.exists() else otherwise


def readable_numbers(paths: Iterable[Path]) -> list[int]:
    """Read those that can be read: the sensor of a part that is switched off answers with an error."""
    numbers = []
    for path in paths:
        try:
            numbers.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return numbers
