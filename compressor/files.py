"""Replacing files in one step, JSON, and digests."""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compressor.errors import CompressorError, RunDirError

FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn file system errors into one clear line."""
    try:
        yield
    except CompressorError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in REFUSED:
            raise RunDirError(f"{path}: cannot be written: {error.strerror}; choose another --run-dir") from error
        if any(
            os.strerror(number) in str(error) for number in FULL
        ):  # safetensors and onnx wrap it in errors of their own
            raise RunDirError(f"{path}: the disk is full; free some space and run the same command again") from error
        raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success, sync it and move it to `path` in one step."""
    beside = path.with_name(f".{path.name}.partial")
    with explained(path):
        try:
            yield beside
            _sync(beside)
            beside.replace(path)
            _sync(path.parent)
        finally:
            beside.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of the run; None if it is not there."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def file_digest(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
