"""Read the arrays of an `.npz` file; nothing in it is unpickled, and nothing is believed before it is counted."""

import os
import zipfile
from pathlib import Path

import numpy as np

from .errors import InputError

HEADER_BYTES = 1 << 16  # numpy's own limit is 10,000 characters
SMALL_BYTES = 1 << 28
MOST_RATIO = 200  # of larger files: token ids with much padding are compressed 50 times, a bomb a thousand times
CURE = "write it with np.savez(file, name=array)"


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an `.npz` file by name.

    Raises
    ------
    InputError
        If it is no such file, holds anything but arrays of numbers, or more than fits into memory.
    """
    if not file.is_file():
        raise InputError(f"{file}: not a readable .npz file of arrays: no such file")
    try:
        if not zipfile.is_zipfile(file):
            raise InputError(f"{file}: not a readable .npz file of arrays{_reason(file)}")
        with zipfile.ZipFile(file) as archive:
            _check(archive, file)
        with np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except InputError:
        raise
    except Exception as error:  # numpy promises no type: a broken header is a SyntaxError or a TokenError
        reason = ": it holds objects of Python; pad texts to one length" if "allow_pickle" in str(error) else ""
        raise InputError(f"{file}: not a readable .npz file of arrays{reason}") from error
    if not arrays:
        raise InputError(f"{file}: should hold one array for each input")
    return arrays


def _reason(file: Path) -> str:
    with file.open("rb") as stream:
        is_one = stream.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX
    return ": it is one array; use np.savez(name=...)" if is_one else ""


def _check(archive: zipfile.ZipFile, file: Path) -> None:
    """Refuse members that are no arrays, and those that would not fit into memory, by their headers alone."""
    members = archive.infolist()
    for member in members:
        if not member.filename.endswith(".npy"):
            raise InputError(f"{file}: {member.filename!r} in it is no array; {CURE}")
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(stream, HEADER_BYTES)
            n_header = stream.tell()
        n_bytes = dtype.itemsize
        for size in shape:
            n_bytes *= size
        if n_bytes != member.file_size - n_header and not dtype.hasobject:
            found = f"{n_bytes:,} bytes by its header and {member.file_size - n_header:,} in the file"
            raise InputError(f"{file}: {member.filename!r} has {found}; {CURE}")
    n_bytes, n_packed = sum(each.file_size for each in members), file.stat().st_size
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if n_bytes > memory // 2 or (n_bytes > SMALL_BYTES and n_bytes > MOST_RATIO * n_packed):
        raise InputError(f"{file}: its {n_packed:,} bytes unpack to {n_bytes:,}, too many; give fewer examples")
