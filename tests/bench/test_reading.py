"""Documents, plans and arrays that are damaged, endless or bombs end in one line, before they are believed."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from compressor.bench import arrays
from compressor.bench.arrays import read_arrays
from compressor.bench.conforms import misfit
from compressor.bench.errors import InputError, PlanError
from compressor.bench.estimate import read_profile
from compressor.bench.plan import read_plan
from compressor.bench.reading import read_json, read_text
from compressor.bench.result import PlanDocument, Result


def header(shape, descr="<i8"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in members.items():
            written.writestr(name, content)
    return path


class TestDocuments:
    def test_pipes_and_devices_are_not_read(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
            with pytest.raises(ValueError, match=r"^it is no regular file$"):
                read_text(path)

    def test_a_file_that_is_too_large(self, tmp_path):
        (tmp_path / "a").write_text("12345")
        assert read_text(tmp_path / "a", 5) == "12345"
        with pytest.raises(ValueError, match=r"^it has more than 4 bytes$"):
            read_text(tmp_path / "a", 4)

    @pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '"\\ud800"', "", "{", "\0"])
    def test_json_that_nothing_can_be_done_with(self, tmp_path, text):
        (tmp_path / "a").write_text(text)
        with pytest.raises(ValueError):
            read_json(tmp_path / "a")

    def test_whole_pairs_of_surrogates_are_text(self, tmp_path):
        (tmp_path / "a").write_text('"\\ud83d\\ude00"')
        assert read_json(tmp_path / "a") == "\U0001f600"

    def test_a_profile_without_end(self):
        with pytest.raises(PlanError, match=r"^/dev/zero: not a readable energy profile: it is no regular file$"):
            read_profile(Path("/dev/zero"))


class TestForm:
    @pytest.mark.parametrize(
        ("value", "kind", "said"),
        [
            ({"variants": 3}, Result, "variants should be a list, found 3"),
            ({"variants": [{"bench": [{"p50_ms": "1"}]}]}, Result, "variants[0].bench[0].p50_ms should be a number, "),
            ({"environment": {"cpu": None}}, Result, "environment.cpu should be a mapping, found None"),
            ({"variants": [{"kind": "x"}]}, Result, "variants[0].kind should be one of 'original', "),
            (True, int, "it should be a whole number, found True"),
            (10**30, int, f"it should be a whole number, found {10**30}"),
            (float("inf"), float, "it should be a number, found inf"),
            (3, str | None, "it should be text, found 3"),
            ("x" * 99, int, f"it should be a whole number, found '{'x' * 39}..."),
        ],
    )  # fmt: skip
    def test_what_does_not_fit_is_named(self, value, kind, said):
        assert misfit(value, kind, may_lack=True).startswith(said)

    def test_what_fits(self):
        assert misfit({"environment": {"n_cores": None}, "more": 1}, Result, may_lack=True) == ""
        assert misfit({}, PlanDocument) == "variants is missing"

    def test_a_plan_with_values_of_other_types(self, tmp_path):
        plan = {"format": 1, "variants": [{"name": "a", "file": "a.onnx"}], "inputs": {"ids": 3}}
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        with pytest.raises(
            PlanError, match=r"plan\.json: inputs\.ids should be a mapping, found 3; make the plan again$"
        ):
            read_plan(tmp_path / "plan.json")

    def test_a_plan_of_more_threads_than_any_processor_has(self, tmp_path):
        plan = {"format": 1, "variants": [{"name": "a", "file": "a.onnx"}], "threads": [99_999]}
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        with pytest.raises(PlanError, match=r"'threads' should be at most 512, got 99999$"):
            read_plan(tmp_path / "plan.json")


class TestArrays:
    @pytest.mark.parametrize(
        ("members", "said"),
        [
            ({"readme.txt": "hello"}, "'readme.txt' in it is no array; write it with np.savez"),
            ({"x.npy": header((10**12,))}, "'x.npy' has 8,000,000,000,000 bytes by its header and 0 in the file"),
            ({"x.npy": header((2, 2)) + bytes(8)}, "'x.npy' has 32 bytes by its header and 8 in the file"),
            ({"x.npy": b"\x93NUMPY\x01\0\x10\0{'shape': (1,(((\n"}, "not a readable .npz file of arrays"),
            ({"x.npy": header((1,), "|O") + b"\x80"}, "it holds objects of Python; pad texts to one length"),
            ({}, "should hold one array for each input"),
        ],
    )
    def test_members_that_are_no_arrays(self, tmp_path, members, said):
        with pytest.raises(InputError) as caught:
            read_arrays(archive(tmp_path / "x.npz", **members))
        assert said in str(caught.value)

    def test_a_bomb_is_not_unpacked(self, tmp_path, monkeypatch):
        monkeypatch.setattr(arrays, "SMALL_BYTES", 1000)
        file = archive(tmp_path / "x.npz", **{"x.npy": header((10**6,)) + bytes(8 * 10**6)})
        with pytest.raises(InputError, match=r"bytes unpack to 8,000,128, too many; give fewer examples$"):
            read_arrays(file)

    def test_other_files(self, tmp_path):
        np.save(tmp_path / "x.npy", np.ones(3))
        with pytest.raises(InputError, match=r"it is one array; use np\.savez\(name=\.\.\.\)$"):
            read_arrays(tmp_path / "x.npy")
        with pytest.raises(InputError, match="no such file"):
            read_arrays(Path("/dev/zero"))

    def test_what_numpy_writes_is_read(self, tmp_path):
        np.savez_compressed(tmp_path / "x.npz", a=np.ones((2, 0)), b=np.float32(3), c=np.asfortranarray(np.eye(3)))
        read = read_arrays(tmp_path / "x.npz")
        assert {name: array.shape for name, array in read.items()} == {"a": (2, 0), "b": (), "c": (3, 3)}
