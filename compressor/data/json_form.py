"""Refuse JSON files that end the process of whoever parses them: Arrow's parser crashes on some, without an error."""

import re
from collections.abc import Iterator
from pathlib import Path

from compressor.errors import InputError

DEEPEST = 100  # a parser of ten thousand levels runs out of stack, and no table is nested like that
BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"|[][{}]')
START = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\[\s*)?(\S{1,20})")
HEAD_BYTES = 1 << 16


def check(file: Path) -> None:
    """Refuse a file that does not start with an object, or whose values are nested too deeply.

    A first row of ``null`` makes Arrow 25 crash; rows of ``null`` after it are read as rows of missing values.
    """
    with file.open("rb") as stream:
        start = START.match(stream.read(HEAD_BYTES))
        if start and not start[1].startswith(b"{"):
            found = start[1].decode(errors="replace")
            raise InputError(f"{file}: each row should be an object such as {{...}}, found {found!r} first; remove it")
        stream.seek(0)
        if any(depth > DEEPEST for depth in _at_most(stream)):  # else no need to look closely
            stream.seek(0)
            if max(_exactly(stream)) > DEEPEST:
                raise InputError(f"{file}: values are nested deeper than {DEEPEST} levels; flatten them")


def _at_most(lines: Iterator[bytes]) -> Iterator[int]:
    """Bound the depth in each line, counting brackets in texts as well; a line that is one object starts anew."""
    depth = 0
    for line in lines:
        n_opened, n_closed = line.count(b"{") + line.count(b"["), line.count(b"}") + line.count(b"]")
        whole = line.strip()
        if whole.startswith(b"{") and whole.endswith(b"}"):
            depth = 0
        yield depth + n_opened
        depth += n_opened - n_closed


def _exactly(lines: Iterator[bytes]) -> Iterator[int]:
    """Follow the depth bracket by bracket, leaving out texts."""
    depth = 0
    for line in lines:
        for bracket in BRACKET.findall(line):
            depth += (bracket in b"{[") - (bracket in b"}]")
            yield depth
