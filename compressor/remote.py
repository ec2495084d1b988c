"""Run a bundle somewhere else: on a board over ssh, or under a command such as an emulator."""

import json
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from compressor import bundle, launch
from compressor.errors import InputError, RecipeError
from compressor.progress import say

SCRIPT = "{script}"
FAILED = 255  # exit code of ssh itself
NOT_FOUND = 127  # of a shell that knows no such program
SSH_OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15")
UNPACK_AND_RUN = 'set -e; d=$(mktemp -d); trap \'rm -rf "$d"\' EXIT; tar -xf - -C "$d"; cd "$d"; '


def measure(place: str, folder: Path, python: str = "python3", ssh: str = "ssh") -> dict[str, Any]:
    """Run a bundle at a place and bring back what its bench found.

    Parameters
    ----------
    place : str
        ``ssh://user@host[:port]``: copies the bundle there, runs it, and removes it again. Or ``command: ...``: runs
        the command here, ``{script}`` standing for the program of the bundle.
    folder : Path
        The bundle.
    python : str
        Python of the host.
    ssh : str
        Command that connects, with options of its own if need be.

    Returns
    -------
    dict
        What ``bench.json`` holds.

    Raises
    ------
    RecipeError
        If the place is neither of the two.
    InputError
        If the host cannot be reached, has no onnxruntime, or cannot run the files.
    """
    kind, _, rest = place.partition(":")
    if kind == "command" and SCRIPT in rest:
        return _under(shlex.split(rest), folder)
    if kind == "ssh" and urlsplit(place).hostname:
        return _over_ssh(place, folder, python, ssh)
    raise RecipeError(f"--on {place}: should be ssh://user@host[:port], or 'command: ... {SCRIPT}'")


def _under(words: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run the program of the bundle under a command."""
    command = [word.replace(SCRIPT, str(folder / bundle.PROGRAM)) for word in words]
    return _found(command, None, f"--on command: {words[0]}")


def _over_ssh(place: str, folder: Path, python: str, ssh: str) -> dict[str, Any]:
    """Send the bundle as a tar stream to a shell that unpacks and runs it: one connection for all."""
    where = urlsplit(place)
    user = f"{where.username}@" if where.username else ""
    port = ("-p", str(where.port)) if where.port else ()
    say(f"sending {sum(path.stat().st_size for path in folder.rglob('*')) / 2**20:,.1f} MiB to {where.hostname}")
    program = f"{UNPACK_AND_RUN}{shlex.quote(python)} {bundle.PROGRAM}"
    command = [*shlex.split(ssh), *SSH_OPTIONS, *port, f"{user}{where.hostname}", program]
    return _found(command, folder, f"--on {place}")


def _found(command: Sequence[str], sent: Path | None, place: str) -> dict[str, Any]:
    """Run a command, pass its progress on, and read the result from the last line of its stdout."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as answer:
        try:
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=answer, stderr=subprocess.PIPE)
        except OSError as error:
            raise InputError(f"{place}: cannot be started: {error.strerror}") from error
        with child:
            if child.stdin:
                _send(sent, child.stdin)
            remark = launch.pass_on(line.decode(errors="replace") for line in child.stderr or ())
        if child.returncode:
            raise _failure(child.returncode, remark, place)
        answer.seek(0)
        found: dict[str, Any] = json.loads(answer.read().splitlines()[-1])
        return found


def _send(folder: Path | None, stream: IO[bytes]) -> None:
    """Write a folder as a tar stream; a host that hangs up says why by itself."""
    try:
        with stream:
            if folder:
                with tarfile.open(fileobj=stream, mode="w|") as archive:
                    archive.add(folder, arcname=".")
    except BrokenPipeError:
        return


def _failure(exit_code: int, remark: str, place: str) -> Exception:
    if remark.startswith(launch.OURS):
        error = launch.failure(exit_code, remark)
        return type(error)(f"{place}: {error}")
    hint = {FAILED: "; does 'ssh' alone get there?", NOT_FOUND: "; name its Python with --python"}.get(exit_code, "")
    return InputError(f"{place}: ended with {exit_code}: {remark or 'no word why'}{hint}")
