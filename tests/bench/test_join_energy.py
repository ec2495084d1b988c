"""`compress join-energy`: joules from a meter's record, for a result that has none."""

import json
from pathlib import Path

import pytest

from compressor import cli
from compressor.bench.energy import unavailable

IDLE_W, WORK_W, RUN_S = 2.0, 5.0, 0.25
N_RUNS = 40  # in each window
IDLE = [[0.0, 10.0], [62.0, 72.0]]
WINDOWS = [[12.0 + 10 * n, 22.0 + 10 * n, N_RUNS, 0.97 * 10.0] for n in range(5)]
TITLES = "time,power"


def write_result(path):
    marks = {"idle": IDLE, "windows": WINDOWS}
    energy = {**unavailable("read by another machine"), "warnings": [], "host": None, "marks": marks}
    point = {"batch_size": 1, "length": 32, "threads": 1, "n_flops": None, "throughput_per_s": 4.0, "energy": energy}
    times = {"p50_ms": 250.0, "p90_ms": 251.0, "p99_ms": 252.0, "mean_ms": 250.0, "cpu_ms": 242.0, "n_runs": 40}
    variant = {"name": "small", "size_bytes": 2**20, "load_ms": 3.0, "peak_memory_bytes": 2**22}
    cpu = {"model": "a board", "flags": []}
    environment = {"cpu": cpu, "versions": {}, "n_cores": 4, "governor": "ondemand"}
    path.write_text(
        json.dumps({"format": 1, "environment": environment, "variants": [{**variant, "bench": [point | times]}]})
    )


def write_record(path):
    """Two watts at rest and five at work, a hundred samples a second, on a clock of its own."""
    samples = ((n / 100, WORK_W if 10.0 <= n / 100 < 62.0 else IDLE_W) for n in range(-500, 7800))
    path.write_text(f"{TITLES}\n" + "".join(f"{1e6 + seconds:.2f},{watts}\n" for seconds, watts in samples))


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_result(tmp_path / "bench.json")
    write_record(tmp_path / "usb.csv")


def join(**changes):
    options = {"record": "usb.csv", "out": "joined.json"} | changes
    result = options.pop("result", "bench.json")
    return cli.main(["join-energy", result, *(word for key, value in options.items() for word in (f"--{key}", value))])


def test_a_result_gets_the_joules_of_the_record(capsys):
    assert join() == 0
    before, after = (json.loads(Path(name).read_text()) for name in ("bench.json", "joined.json"))
    energy = after["variants"][0]["bench"][0]["energy"]
    assert (energy["kind"], energy["meter"]) == ("measured", "external")
    assert energy["net_j"] == pytest.approx((WORK_W - IDLE_W) * RUN_S, rel=0.01)
    assert energy["gross_j"] == pytest.approx(WORK_W * RUN_S, rel=0.01)
    assert after["variants"][0]["bench"][0]["p50_ms"] == before["variants"][0]["bench"][0]["p50_ms"]
    title, header, row, *_ = capsys.readouterr().out.splitlines()
    assert title.endswith("32, SingleStream")
    assert header.split()[-1] == "mJ/inference"
    shown, kind = row.split()[-2:]
    assert (float(shown), kind) == (pytest.approx(750, rel=0.01), "measured")


def test_what_was_joined_can_be_joined_again():
    assert join() == 0
    assert join(result="joined.json", out="again.json") == 0
    first, second = (json.loads(Path(name).read_text()) for name in ("joined.json", "again.json"))
    assert first == second


@pytest.mark.parametrize(
    ("changes", "content", "message"),
    [
        ({"result": "no.json"}, "", "no.json: cannot be read: No such file or directory; give what"),
        ({"result": "bad.json"}, "{", "bad.json: not a readable JSON file: "),
        ({"result": "bad.json"}, "[]", "bad.json: not a result of the bench, it should be a mapping, found []; give"),
        ({"record": "no.csv"}, "", "no.csv: cannot be read: "),
        ({"record": "bad.csv"}, "seconds,apples\n0,1\n", "bad.csv: needs titles for time, and for power or voltage"),
        ({"record": "bad.csv"}, "time,power\n0,1\n9,1\n", "bad.csv: lasts 9.0 s, and the run 72.0 s"),
        ({"out": "no/joined.json"}, "", "no/joined.json: cannot be written: No such file or directory; choose"),
        ({"out": "."}, "", ".: cannot be written: Is a directory; choose another place with --out"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(capsys, changes, content, message):
    if content:
        Path(next(iter(changes.values()))).write_text(content)
    assert join(**changes) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"compress: {message}")
    assert not Path("joined.json").exists()


def test_a_result_without_marks_has_nothing_to_join(capsys):
    result = json.loads(Path("bench.json").read_text())
    result["variants"][0]["bench"][0]["energy"] = unavailable("no meter")
    Path("bench.json").write_text(json.dumps(result))
    assert join() == 3
    expected = "compress: usb.csv: nothing to join it to; measure with the meter 'external' first\n"
    assert capsys.readouterr().err == expected
