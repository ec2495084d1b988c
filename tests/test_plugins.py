"""Discovery: every file of a folder under its name, and nothing swallowed."""

import importlib
from typing import Annotated

import pytest
from pydantic import BaseModel, ValidationError

from compressor import plugins


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Make a package of two extension files."""
    folder = tmp_path / tmp_path.name
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "plain.py").write_text("WORD = 'plain'\n")
    (folder / "fancy.py").write_text("WORD = 'fancy'\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return importlib.import_module(folder.name)


def test_files_are_found_by_name_in_order(package):
    found = plugins.discover(package)
    assert list(found) == ["fancy", "plain"]
    assert found["plain"].WORD == "plain"


def test_a_file_that_does_not_import_breaks_loudly(package, tmp_path):
    (tmp_path / package.__name__ / "broken.py").write_text("import no_such_module\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        plugins.discover(package)


def test_a_word_must_name_a_file(package):
    class Options(BaseModel):
        ball: Annotated[str, plugins.one_of(package)]

    assert Options(ball="plain").ball == "plain"
    with pytest.raises(ValidationError, match=f"no such file in {package.__name__}; choose from fancy, plain"):
        Options(ball="plane")
