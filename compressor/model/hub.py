"""Local folders and the Hub's: one name for both, and one clear line when neither is there."""

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils.tqdm import disable_progress_bars

from compressor.errors import InputError, first_line


@cache  # one answer per process: `main` must not move between two looks at it
def folder(place: str, name: str, revision: str, kind: Literal["model", "dataset"], files: Sequence[str]) -> Path:
    """Give the local folder of that name, or fetch the Hub's files that match the patterns, subfolders left out."""
    local = Path(name).expanduser()
    if local.is_dir():
        return local
    if local.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"{place}: no such folder, got {name!r}; give a local folder or a hub id")
    if not sys.stderr.isatty():
        disable_progress_bars()  # they would fill a log with their redrawing
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
