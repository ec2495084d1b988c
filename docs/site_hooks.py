"""Hooks of mkdocs: pages of the site that are files of the repository's root, and quiet tutorials."""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT_PAGES = {"index.md": "README.md"}  # page of the site: file in the root


def on_startup(**_: object) -> None:
    """Keep remarks on packages that the tutorials do not need out of their outputs."""
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm's, on widgets
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"  # its remark on torchvision


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the root's files as pages of the site."""
    for page, source in ROOT_PAGES.items():
        text = (Path(config.config_file_path).parent / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_relinked(text)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Link to the start page where a page of the docs folder links to the README."""
    return markdown.replace("../README.md", "index.md")


def _relinked(text: str) -> str:
    """Make links relative to the docs folder; links to other files of the root, such as LICENSE, become plain text."""
    text = re.sub(r"(?<=\]\()docs/", "", text).replace("](CONTRIBUTING.md", "](contributing.md")
    return re.sub(r"\[([^\]]+)\]\([A-Z][\w./-]*\)", r"\1", text)
