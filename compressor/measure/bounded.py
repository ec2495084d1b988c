"""Output of a command that somebody else wrote, read as far as a bench could fill it."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from compressor.errors import InputError

MOST_ANSWER_BYTES = 64 * 2**20  # of stdout: a result of many files and points takes less than one MiB
MOST_SAID_BYTES = 16 * 2**20  # of stderr: progress, a line every few seconds
MOST_LINE_BYTES = 2**16
_CHUNK_BYTES = 2**16


class Answer:
    """What a command wrote to stdout, collected in the background."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child, self._chunks, self.is_too_long = child, list[bytes](), False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def text(self) -> str:
        """Wait for the end of the output and return it."""
        self._reader.join()
        return b"".join(self._chunks).decode(errors="replace")

    def _read(self) -> None:
        stream, n_bytes = self._child.stdout, 0
        while stream is not None and (chunk := stream.read(_CHUNK_BYTES)):
            n_bytes += len(chunk)
            if n_bytes > MOST_ANSWER_BYTES:
                self.is_too_long = True
                self._child.kill()
                return
            self._chunks.append(chunk)


@contextmanager
def answer_of(child: "subprocess.Popen[bytes]", place: str) -> Iterator[Answer]:
    """Collect what a command answers while the block runs; too much of it ends the command with an `InputError`."""
    answer = Answer(child)
    yield answer
    answer.text()
    if answer.is_too_long:
        raise InputError(f"{place}: answered more than {MOST_ANSWER_BYTES >> 20} MiB, which is no result of a bench")


def lines(child: "subprocess.Popen[bytes]", place: str) -> Iterator[str]:
    """Yield the lines that a command writes to stderr; too much of it ends the command with an `InputError`."""
    stream, n_bytes = child.stderr, 0
    while stream is not None and (line := stream.readline(MOST_LINE_BYTES)):
        n_bytes += len(line)
        if n_bytes > MOST_SAID_BYTES:
            child.kill()
            raise InputError(f"{place}: wrote more than {MOST_SAID_BYTES >> 20} MiB to stderr; is it a bench?")
        yield line.decode(errors="replace")
