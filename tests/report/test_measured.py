# ruff: noqa: RUF001 - tables write the sign for times
"""What the bench wrote, as it is read again: old versions, other machines, other files; and the terminal's table."""

import json
import re

import pytest
from fake_run import ACCURACY, P50_MS, SIZE_BYTES, board, emulated, finished_run, unfinished_run

from compressor.errors import InputError
from compressor.report import joules, measured, text
from compressor.report.gather import gather

BOARD = board()


@pytest.fixture
def save(tmp_path):
    """Write a result and return its place."""

    def write(content, name="board.json"):
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / name

    return write


def without(found, key):
    return {name: value for name, value in found.items() if name != key}


def test_a_result_of_the_first_version_gets_the_keys_of_today(tmp_path):
    old = json.loads((finished_run(tmp_path) / "bench.json").read_text())
    old["variants"][0]["bench"][1] |= {"batch_size": 8}
    found = measured.completed(old)
    first, second = found["variants"][0]["bench"]
    assert (first["scenario"], second["scenario"]) == ("SingleStream", "Offline")
    assert first.keys() >= BOARD["variants"][0]["bench"][0].keys()
    assert found["variants"][0].keys() >= BOARD["variants"][0].keys()
    assert (first["cpu_ms"], first["n_instructions"], first["energy"]["warnings"]) == (None, None, [])
    assert (first["p50_ms"], first["energy"]["reason"]) == (9.1, "no meter")
    assert found["environment"]["is_emulated"] is False
    assert found["environment"]["temperature_c"] is None


@pytest.mark.parametrize(
    ("written", "precision", "is_quantized"),
    [
        ({"quantized": True}, "int8", True), ({"quantized": False}, "fp32", False), ({"quantized": None}, None, None),
        ({}, None, None), ({"precision": None}, None, None), ({"precision": "fp16"}, "fp16", False),
        ({"precision": "int4"}, "int4", True), ({"precision": "ternary", "quantized": False}, "ternary", True),
    ],
)  # fmt: skip
def test_the_precision_of_a_file_is_known_from_any_version(written, precision, is_quantized):
    found = measured.variant(BOARD["variants"][0] | written)
    assert (found["precision"], found["quantized"]) == (precision, is_quantized)


def test_a_result_of_today_stays_as_it_is(save):
    read = measured.read(save(BOARD))
    assert all(read["environment"][key] == value for key, value in BOARD["environment"].items())
    for ours, theirs in zip(read["variants"], BOARD["variants"], strict=True):
        for entry, written in zip(ours["bench"], theirs["bench"], strict=True):
            assert {key: entry[key] for key in without(written, "energy")} == without(written, "energy")
            assert {key: entry["energy"][key] for key in written["energy"]} == written["energy"]


@pytest.mark.parametrize(
    "content",
    [
        "[1]", "{}", "null", without(BOARD, "format"), BOARD | {"format": 2}, BOARD | {"variants": {}},
        without(BOARD, "environment"), BOARD | {"environment": {"cpu": "a cpu", "versions": {}}},
        BOARD | {"variants": [without(BOARD["variants"][0], "bench")]},
        BOARD | {"variants": [without(BOARD["variants"][0], "size_bytes")]},
        BOARD | {"variants": [BOARD["variants"][0] | {"bench": [{"p50_ms": "fast"}]}]},
        BOARD | {"variants": [BOARD["variants"][0] | {"bench": [BOARD["variants"][0]["bench"][0] | {"energy": 3}]}]},
    ],
)  # fmt: skip
def test_other_json_is_no_result(save, content):
    with pytest.raises(InputError, match=r"board\.json: not a result of the bench, .*; give what"):
        measured.read(save(content))


@pytest.mark.parametrize("content", ["{", "time,power\n0,1\n", ""])
def test_other_text_is_no_json(save, content):
    with pytest.raises(InputError, match=r"board\.json: not a readable JSON file: .*; give what compress bench --json"):
        measured.read(save(content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no\.json: cannot be read: No such file or directory; give what"):
        measured.read(tmp_path / "no.json")


def test_a_board_measures_and_the_run_knows_the_rest(tmp_path, save):
    report = gather(finished_run(tmp_path), save(BOARD))
    assert (report["bench_file"], report["is_measured"]) == ("board.json", True)
    assert report["environment"]["cpu"]["model"] == "Raspberry Pi 5"
    assert report["environment"]["versions"]["compressor"] == "0.1.0"
    assert report["environment"]["measured"]["versions"]["onnxruntime"] == "1.23.0"
    for each, theirs in zip(report["variants"], BOARD["variants"], strict=True):
        assert each["accuracy"] == ACCURACY[each["name"]]
        assert each["file"].endswith(".onnx")
        assert each["file"] != theirs["file"]
        assert each["load_ms"] == theirs["load_ms"] != 80.0
        assert [entry["p50_ms"] for entry in each["bench"]] == [entry["p50_ms"] for entry in theirs["bench"]]


def test_a_board_may_measure_what_was_not_measured_here(tmp_path, save):
    run = finished_run(tmp_path)
    (run / "bench.json").unlink()
    assert gather(run, save(BOARD))["variants"][3]["bench"][0]["p50_ms"] == BOARD["variants"][3]["bench"][0]["p50_ms"]


def resized(variants, name):
    return [each | {"size_bytes": 5} if each["name"] == name else each for each in variants]


@pytest.mark.parametrize(
    ("variants", "problem"),
    [
        (BOARD["variants"][:3], "'compressed int8' is missing"),
        ([*BOARD["variants"], BOARD["variants"][0] | {"name": "other"}], "'other' is unknown"),
        (resized(BOARD["variants"], "original int8"), "'original int8' has 5 bytes there and 23,300,000 here"),
    ],
)
def test_other_files_are_refused(tmp_path, save, variants, problem):
    file = save(BOARD | {"variants": variants})
    with pytest.raises(InputError) as error:
        gather(finished_run(tmp_path), file)
    assert str(error.value) == f"{file}: not measured on the files of this run: {problem}; measure this run there"


def test_an_unfinished_run_was_not_measured_anywhere(tmp_path, save):
    with pytest.raises(InputError, match=r"sst2: not finished, so .*\.json is of other files; finish the run first"):
        gather(unfinished_run(tmp_path), save(BOARD))


class TestTable:
    @pytest.mark.parametrize(
        ("index", "shape"),
        list(
            enumerate(["1×32, SingleStream", "1×128, SingleStream", "8×32, Offline", "1×32 (4 threads), SingleStream"])
        ),
    )
    def test_it_has_every_number_under_its_title(self, index, shape):
        title, header, *rows = text.bench(BOARD).split("\n\n")[index].splitlines()
        assert title == shape
        *titles, unit = re.split(r"\s{2,}", header.strip())
        assert titles == ["MiB", "load ms", "peak MiB", "p50 ms", "p90 ms", "p99 ms", "cpu ms", "per s"]
        for row, variant in zip([row for row in rows if "ratio" not in row], BOARD["variants"], strict=True):
            entry = variant["bench"][index]
            name, *numbers, energy = re.split(r"\s{2,}", row)
            assert name == variant["name"]
            facts = [variant["size_bytes"] / 2**20, variant["load_ms"], variant["peak_memory_bytes"] / 2**20]
            facts += [entry[key] for key in ("p50_ms", "p90_ms", "p99_ms", "cpu_ms", "throughput_per_s")]
            assert [float(number.replace(",", "")) for number in numbers] == pytest.approx(facts, rel=0.01)
            shown, kind = energy.split()
            size = {"J/inference": 1.0, "mJ/inference": 1e-3}[unit]
            assert (float(shown) * size, kind) == (pytest.approx(entry["energy"]["net_j"], rel=0.01), "measured")

    def test_ratios_are_to_the_first_file(self):
        block = text.bench(BOARD).split("\n\n")[0].splitlines()
        ratios = [re.split(r"\s{2,}", row.strip())[1:] for row in block if row.startswith("  ratio to the first")]
        assert len(ratios) == 3
        name = "compressed int8"
        size, p50 = SIZE_BYTES[name] / SIZE_BYTES["original fp32"], P50_MS[name][0] / P50_MS["original fp32"][0]
        expected = [size, 1, 1, p50, p50, p50, p50, 1 / p50, p50]
        assert list(map(float, ratios[2])) == pytest.approx(expected, rel=0.01)

    @pytest.mark.parametrize("kind", ["estimated", "unavailable"])
    def test_joules_of_another_kind_have_no_ratio(self, kind):
        result = board({("original fp32", index): kind for index in range(4)})
        rows = [row for row in text.bench(result).splitlines() if row.startswith("  ratio")]
        assert len(rows) == 12
        assert all(len(re.split(r"\s{2,}", row.strip())) == 9 for row in rows)  # the last of ten columns is empty

    def test_it_fits_a_terminal(self):
        result = board({(name, 3): "estimated" for name in ACCURACY})
        for variant in result["variants"]:
            variant["peak_memory_bytes"] *= 30
            for entry in variant["bench"]:
                entry |= {key: 1000 * entry[key] for key in ("p50_ms", "p90_ms", "p99_ms", "cpu_ms")}
                entry |= {"n_instructions": 123_456_789_012, "throughput_per_s": 123456.0}
        tables = text.bench(result).split("\n\n")[:4]
        assert max(map(len, "\n".join(tables).splitlines())) <= 120
        assert "M instr" in tables[0]

    def test_what_nobody_knows_has_no_column(self):
        result = board()
        for variant in result["variants"]:
            variant["load_ms"] = None
        assert "load ms" not in text.bench(result)
        assert "M instr" not in text.bench(result)

    def test_it_names_the_machine(self):
        assert "on Raspberry Pi 5, 4 cores, governor ondemand, 61 °C" in text.bench(BOARD)

    def test_an_emulated_processor_shows_that_outputs_are_the_same(self):
        lines = text.bench(emulated()).splitlines()
        assert lines[0].split("  ")[-1] == "outputs differ by"
        assert [line.split()[-1] for line in lines[1:5]] == ["2.5e-07"] * 4
        assert lines[-1] == "on Raspberry Pi 5 (emulated), 4 cores, governor and temperature not shown"


class TestRemarks:
    def test_what_is_said_of_all_is_said_once(self):
        result = board({(name, index): "unavailable" for name in ACCURACY for index in range(4)})
        assert joules.reasons(measured.completed(result)["variants"]) == [joules.Remark("no meter", "")]
        assert text.bench(result).endswith("\nenergy unavailable: no meter")

    def test_a_warning_says_of_what(self):
        result = board()
        for variant in result["variants"]:
            variant["bench"][1]["energy"]["warnings"].append("firmware: throttled")
        result["variants"][0]["bench"][0]["energy"]["warnings"].append("unsteady")
        assert joules.warnings(measured.completed(result)["variants"]) == [
            joules.Remark("unsteady", "original fp32 at 1×32"),
            joules.Remark("firmware: throttled", "all files at 1×128"),
        ]
        assert "energy warning (original fp32 at 1×32): unsteady" in text.bench(result)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("variants", 0, "bench", 0, "p50_ms"), 0), (("variants", 0, "bench", 0, "p99_ms"), float("nan")),
        (("variants", 0, "bench", 0, "energy", "net_j"), "much"), (("variants", 0, "load_ms"), "long"),
        (("environment", "temperature_c"), "hot"), (("environment", "cpu", "flags"), "neon"),
    ],
)  # fmt: skip
def test_numbers_that_are_none_are_refused(save, place, value):
    """The page would draw them."""
    content = json.loads(json.dumps(BOARD))
    *way, last = place
    found = content
    for step in way:
        found = found[step]
    found[last] = value
    with pytest.raises(InputError, match="not a result of the bench"):
        measured.read(save(content))


def test_a_processor_of_which_little_is_known(save):
    assert measured.read(save(BOARD | {"environment": {"cpu": {}, "versions": {}}}))["environment"]["cpu"] == {
        "model": "unknown processor",
        "flags": [],
    }
