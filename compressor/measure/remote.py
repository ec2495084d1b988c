"""Run a bundle somewhere else: on a board over ssh, or under a command such as an emulator."""

import contextlib
import json
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from compressor.bench.result import Result
from compressor.errors import InputError, RecipeError
from compressor.measure import bounded, bundle, launch
from compressor.progress import say

SCRIPT = "{script}"
FAILED = 255  # exit code of ssh itself
NOT_FOUND = 127  # of a shell that knows no such program
SSH_OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15")
# Unpack as many bytes as were announced; then run, until the bench ends or the connection does.
ON_HOST = """
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
head -c {n_bytes} | tar -xof - -C "$folder"
cd "$folder"
exec 3<&0
{python} {program} < /dev/null &
bench=$!
{{ cat <&3; kill $bench; }} > /dev/null 2>&1 &
watch=$!
code=0
wait $bench || code=$?
kill $watch 2> /dev/null || true
exit $code
"""


def measure(place: str, folder: Path, python: str = "python3", ssh: str = "ssh") -> Result:
    """Run a bundle at a place and bring back its result.

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
    try:
        if kind == "command" and SCRIPT in rest:
            return _under(shlex.split(rest), folder)
        if kind == "ssh" and urlsplit(place).hostname:
            return _over_ssh(place, folder, python, shlex.split(ssh))
    except ValueError as error:  # a quote that is not closed, a port that is no number
        raise RecipeError(f"--on {place}: {error}") from error
    raise RecipeError(f"--on {place}: should be ssh://user@host[:port], or 'command: ... {SCRIPT}'")


def _under(words: Sequence[str], folder: Path) -> Result:
    """Run the program of the bundle under a command."""
    command = [word.replace(SCRIPT, str(folder / bundle.PROGRAM)) for word in words]
    return _result(command, None, f"--on command: {words[0]}")


def _over_ssh(place: str, folder: Path, python: str, ssh: Sequence[str]) -> Result:
    """Send the bundle as a tar file to a shell that unpacks and runs it: one connection for all."""
    where = urlsplit(place)
    host = where.netloc.removesuffix(f":{where.port}")  # `hostname` would be in small letters
    port = ("-p", str(where.port)) if where.port else ()
    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(folder, arcname=".")
        n_bytes = packed.tell()
        packed.seek(0)
        say(f"sending {n_bytes / 2**20:,.1f} MiB to {host}")
        script = ON_HOST.format(n_bytes=n_bytes, python=shlex.quote(python), program=bundle.PROGRAM)
        command = [*ssh, *SSH_OPTIONS, *port, "--", host, f"sh -c {shlex.quote(script)}"]
        return _result(command, packed, f"--on {place}")


def _result(command: Sequence[str], sent: IO[bytes] | None, place: str) -> Result:
    """Run a command, pass its progress on, and read the result from the last line of its stdout."""
    try:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise InputError(f"{place}: cannot be started: {error.strerror}") from error
    with (
        child,
        launch.ending(child),
        _sending(sent, child.stdin),
        bounded.answer_of(child, place) as answer,
    ):
        remark = launch.pass_on(bounded.lines(child, place))
    if child.returncode:
        raise _failure(child.returncode, remark, place)
    try:
        result: Result = json.loads(answer.text().splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise InputError(f"{place}: gave no result; does it run {SCRIPT}?") from error
    return result


@contextlib.contextmanager
def _sending(sent: IO[bytes] | None, stream: IO[bytes] | None) -> Iterator[None]:
    """Send a file in the background, and leave the stream open until all is over: its end stops the host."""
    if sent is None or stream is None:
        yield
        return
    sender = threading.Thread(target=_copy, args=(sent, stream), daemon=True)
    sender.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it has hung up, and says why by itself
            stream.close()


def _copy(sent: IO[bytes], stream: IO[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):  # as above
        shutil.copyfileobj(sent, stream)
        stream.flush()


def _failure(exit_code: int, remark: str, place: str) -> Exception:
    if remark.startswith(launch.OURS):
        error = launch.failure(exit_code, remark)
        return type(error)(f"{place}: {error}")
    hints = {FAILED: "does 'ssh' alone get there?", NOT_FOUND: "name its Python with --python"}
    hints |= dict.fromkeys(launch.KILLED, launch.OUT_OF_MEMORY)
    hint = f"; {hints[exit_code]}" if exit_code in hints else ""
    return InputError(f"{place}: ended with {exit_code}: {remark or 'no error message'}{hint}")
