"""Small documents from a disk: read whole, but never from a device, without end, or nested without end."""

import json
from pathlib import Path
from typing import Any

MOST_BYTES = 64 << 20  # a result of the bench has kilobytes; a document of a run with a million units has megabytes


def read_text(path: Path, most_bytes: int = MOST_BYTES, encoding: str = "utf-8") -> str:
    """Read a text file.

    Raises
    ------
    ValueError
        If it is no regular file, has more than ``most_bytes``, or is no text.
    OSError
        If it cannot be opened.
    """
    if path.exists() and not path.is_file():  # a pipe would wait for a writer, /dev/zero would never end
        raise ValueError("it is no regular file")
    with path.open("rb") as stream:
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it has more than {most_bytes:,} bytes")
    return content.decode(encoding)


def parsed_json(text: str) -> Any:
    """Parse JSON; data that are nested too deeply, or that no file can hold, are a `ValueError` as well."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if "\\ud" in text.lower():
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair, which cannot be written again
    return value


def read_json(path: Path) -> Any:
    """Read a JSON file; raises what `read_text` and `parsed_json` do."""
    return parsed_json(read_text(path))
