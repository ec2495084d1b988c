"""Hooks of mkdocs: pages of the site that are files of the repository's root, and quiet tutorials."""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT_PAGES = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md"}  # page of the site: file in the root


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
    """Make the links of a file of the root relative to the docs folder."""
    return re.sub(r"\[(?P<label>[^\]]+)\]\((?P<target>[^)#]+)(?P<anchor>#[^)]*)?\)", _link, text)


def _link(match: re.Match[str]) -> str:
    """Rewrite one link; one to a file that the site does not have, such as LICENSE, becomes plain text."""
    label, target, anchor = match["label"], match["target"], match["anchor"] or ""
    if target.startswith("https:"):
        return match[0]
    if target.startswith("docs/"):
        return f"[{label}]({target.removeprefix('docs/')}{anchor})"
    pages = {source: page for page, source in ROOT_PAGES.items()}
    return f"[{label}]({pages[target]}{anchor})" if target in pages else label
