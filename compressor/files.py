"""Replacing files in one step, JSON, and digests."""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compressor.bench import reading
from compressor.errors import CompressorError, RunDirError

PARTIAL = ".partial"  # ends the name of a file that is being written
SEAL = "digest"  # key of a sealed file
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
    beside = path.with_name(f".{path.name}{PARTIAL}")
    with explained(path):
        try:
            yield beside
            sync(beside)
            beside.replace(path)
            sync(path.parent)
        finally:
            beside.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
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
    """Read a JSON file of the run; None if it is not there, and a `ValueError` if it is damaged."""
    return reading.read_json(path) if path.exists() else None


def readable_json(path: Path) -> Any:
    """Read a JSON file of the run; None if it is missing or damaged, where the run can do without it."""
    try:
        return read_json(path)
    except (ValueError, OSError):  # bytes that are no text are a ValueError too
        return None


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step; it carries a digest of its own content."""
    write_json(path, {**value, SEAL: _seal(value)})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Read what `write_sealed` wrote; None if it is missing, or not as it was written."""
    value = readable_json(path)
    if not isinstance(value, dict):
        return None
    seal = value.pop(SEAL, None)
    return value if seal == _seal(value) else None


def _seal(value: Mapping[str, Any]) -> str:
    as_read = json.loads(json.dumps(value))  # keys become text
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_intact(path: Path, digest: str) -> bool:
    """Whether a file exists and has this content."""
    return path.is_file() and file_digest(path) == digest


def first_changed(folder: Path, digests: Mapping[str, str]) -> str | None:
    """Name the first file that is missing or not as it was written; ``digests`` are by its name in the folder."""
    return next((name for name, digest in digests.items() if not is_intact(folder / name, digest)), None)
