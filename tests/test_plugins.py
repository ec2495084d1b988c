"""Discovery: every file of a folder under its name, checked against the folder's protocol, and nothing swallowed."""

import importlib
from typing import Annotated, Protocol

import pytest
from pydantic import BaseModel, ValidationError

from compressor import plugins


class Named(Protocol):
    WORD: str


class Speaking(Named, Protocol):
    def speak(self) -> str: ...


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
    found = plugins.discover(package, Named)
    assert list(found) == ["fancy", "plain"]
    assert found["plain"].WORD == "plain"


def test_a_file_that_does_not_import_breaks_loudly(package, tmp_path):
    (tmp_path / package.__name__ / "broken.py").write_text("import no_such_module\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        plugins.discover(package, Named)


def test_a_file_that_lacks_a_required_name_is_refused_with_the_name(package, tmp_path):
    (tmp_path / package.__name__ / "silent.py").write_text("def talk():\n    pass\n")
    with pytest.raises(TypeError, match=r"\.fancy: not a Speaking, speak missing; define all names of Speaking$"):
        plugins.discover(package, Speaking)
    for name in ("fancy", "plain"):
        (tmp_path / package.__name__ / f"{name}.py").unlink()
    with pytest.raises(
        TypeError, match=r"\.silent: not a Speaking, WORD, speak missing; define all names of Speaking$"
    ):
        plugins.discover(package, Speaking)


def test_a_word_must_name_a_file(package):
    class Options(BaseModel):
        ball: Annotated[str, plugins.one_of(package)]

    assert Options(ball="plain").ball == "plain"
    with pytest.raises(ValidationError, match=f"no such file in {package.__name__}; choose from fancy, plain"):
        Options(ball="plane")
