"""Files are replaced in one step: whoever reads them finds the old content or the new."""

import os

import pytest

from compressor.errors import RunDirError
from compressor.files import file_digest, read_json, replacing, write_json, write_text


def test_the_old_content_stays_until_the_new_is_complete(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "old")
    with replacing(file) as beside:
        beside.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_what_fails_leaves_the_old_content_and_nothing_beside_it(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def fail():
        with replacing(file) as beside:
            beside.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_write_that_was_cut_short_before_is_written_over(tmp_path):
    (tmp_path / ".a.txt.partial").write_text("half of an earlier process")
    write_text(tmp_path / "a.txt", "new")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["new"]


def test_the_content_is_synced_before_it_takes_its_place(tmp_path, monkeypatch):
    file, sync = tmp_path / "a.txt", os.fsync
    was_there = []

    def fsync(descriptor):
        was_there.append(file.exists())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(file, "new")
    assert was_there == [False, True], "the file itself, then its folder"


def test_json_comes_back_and_a_missing_file_is_none(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, None, "ü"]})
    assert read_json(tmp_path / "a.json") == {"a": [1, None, "ü"]}
    assert read_json(tmp_path / "b.json") is None


def test_a_digest_is_of_the_content(tmp_path):
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / name).write_text(text)
    a, b, c = (file_digest(tmp_path / name) for name in "abc")
    assert a == b != c


def test_a_folder_that_is_a_file_is_told_in_one_line(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RunDirError, match=r"run/a\.txt: cannot be written: Not a directory; choose another --run-dir"):
        write_text(tmp_path / "run" / "a.txt", "new")
