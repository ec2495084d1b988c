"""Ask the firmware of a Raspberry Pi."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from .errors import InputError

Ask = Callable[[str, Path], str]  # question, root of the file system
PROGRAM = "usr/bin/vcgencmd"
LIMIT_S = 5.0


def available(root: Path) -> bool:
    """Tell whether the program is installed."""
    return (root / PROGRAM).exists()


def ask(question: str, root: Path) -> str:
    """Answer of `vcgencmd QUESTION`."""
    command = [str(root / PROGRAM), question]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except OSError as error:
        raise InputError(f"{command[0]} has vanished or cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise InputError(f"'vcgencmd {question}' gave no answer for {LIMIT_S:g} s") from error
    if done.returncode:
        why = (done.stderr or done.stdout).strip().partition("\n")[0]
        raise InputError(f"'vcgencmd {question}' failed: {why or f'exit code {done.returncode}'}")
    return done.stdout
