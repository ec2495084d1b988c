"""Find a local folder or fetch one from the Hub by the same name, with one clear line if neither exists."""

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils.tqdm import disable_progress_bars

from compressor.errors import InputError, first_line


@cache  # one answer per process: `main` must not change between two calls
def folder(place: str, name: str, revision: str, kind: Literal["model", "dataset"], files: Sequence[str]) -> Path:
    """Return the local folder of this name, or fetch the matching files from the Hub, without subfolders."""
    local = Path(name).expanduser()
    if local.is_dir():
        return local
    if local.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"{place}: no such folder, got {name!r}; give a local folder or a hub id")
    if not sys.stderr.isatty():
        disable_progress_bars()  # redrawing them would fill a log
    try:
        fetched = snapshot_download(
            name, repo_type=kind, revision=revision, allow_patterns=list(files), ignore_patterns="*/*"
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise InputError(
            f"{place}: no local folder, and not reachable at {constants.ENDPOINT}, got {name!r} ({first_line(error)}); "
            "give a local folder, set HF_ENDPOINT to a mirror, "
            "or try the quick start, which needs no network: compress --recipe digits_l1inf.yaml"
        ) from error
    return Path(fetched)
