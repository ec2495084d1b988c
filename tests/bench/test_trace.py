"""An external meter: its CSV in several dialects, and the run found in a record of another clock."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_machine import FakeMachine

from compressor.bench import energy, metering, trace
from compressor.bench.errors import InputError
from compressor.bench.meters import external

OFFSET_S = 1_700_000_000.0


class Recorder:
    """Writes down the power of a machine, as a USB meter beside it would."""

    def __init__(self, machine: FakeMachine, every_s: float) -> None:
        self.machine, self.every_s, self.rows = machine, every_s, [(0.0, machine.watts)]
        machine.sensors.append(self)

    def __call__(self) -> None:
        while self.rows[-1][0] + self.every_s <= self.machine.now_s:
            self.rows.append((self.rows[-1][0] + self.every_s, self.machine.watts))

    def save(self, path, noise_w: float = 0.05):
        rng = random.Random(0)
        lines = (f"{OFFSET_S + t:.4f},5.000,{(w + rng.gauss(0, noise_w)) / 5:.6f}" for t, w in self.rows)
        path.write_text("timestamp,voltage_V,current_A\n" + "\n".join(lines))
        return path


def run(machine: FakeMachine) -> dict:
    """Two files at two shapes, as the bench leaves them after measuring with the meter `external`."""
    variants: list[dict[str, Any]] = [{"name": name, "bench": []} for name in ("large", "small")]
    runs = {"large": lambda: machine.work(0.5, 6.0), "small": lambda: machine.work(0.2, 4.5)}
    machine.sleep(33.3)
    for _ in range(2):
        with external.open_meter(Path()) as meter:
            found = metering.compare(runs, meter, random.Random(0), machine)
        for variant in variants:
            variant["bench"].append({"energy": found[variant["name"]]})
        machine.sleep(7.7)
    return json.loads(json.dumps({"variants": variants}, allow_nan=False))


def test_a_run_finds_its_joules_in_the_record(tmp_path):
    machine = FakeMachine(idle_w=2.0)
    recorder = Recorder(machine, every_s=0.01)
    result = run(machine)
    before = result["variants"][0]["bench"][0]["energy"]
    assert before["kind"] == "unavailable"
    assert before["reason"] == "meter 'external' is read by another machine; join its record with these marks"

    joined = trace.joined(result, recorder.save(tmp_path / "usb.csv"))
    for variant, net_j in zip(joined["variants"], (2.0, 0.5), strict=True):
        for entry in variant["bench"]:
            assert entry["energy"]["kind"] == "measured"
            assert entry["energy"]["meter"] == "external"
            assert entry["energy"]["net_j"] == pytest.approx(net_j, rel=0.01)
            assert entry["energy"]["idle_w"] == pytest.approx(2.0, rel=0.01)
            assert entry["energy"]["warnings"] == []


@pytest.mark.parametrize("offset_s", [0.0, 12.343, -871.137])
def test_the_clocks_are_matched_to_two_samples(tmp_path, offset_s):
    """Work from 20 s to 50 s between two rests, in a record with more rest around it."""
    times_s = np.arange(0.0, 100.0, 0.01)
    watts = np.where((times_s >= 20) & (times_s < 50), 5.0, 2.0) + np.random.default_rng(0).normal(0, 0.1, times_s.size)
    path = tmp_path / "record.csv"
    path.write_text("time,power\n" + "".join(f"{t + offset_s},{w}\n" for t, w in zip(times_s, watts, strict=True)))
    span = trace.Span(rest_s=10.11, work_s=20.0, stop_s=50.0, end_s=62.0)
    assert trace.align(trace.read_trace(path), [span], path) == pytest.approx(offset_s, abs=0.02)


def test_a_sparse_record_is_flagged(tmp_path):
    machine = FakeMachine(idle_w=2.0)
    recorder = Recorder(machine, every_s=1.0)
    joined = trace.joined(run(machine), recorder.save(tmp_path / "slow.csv", noise_w=0.0))
    (warning,) = joined["variants"][0]["bench"][0]["energy"]["warnings"]
    assert warning.endswith(" samples in a window; 100 are needed to trust it")


@pytest.mark.parametrize("noise_w", [0.0, 0.01, 0.2])
@pytest.mark.parametrize("seed", range(5))
def test_a_record_of_something_else_is_refused(tmp_path, noise_w, seed):
    """The wrong port, or the wrong file: there is always a place at which chance looks most like work."""
    rng, path = np.random.default_rng(seed), tmp_path / "flat.csv"
    result = run(FakeMachine(idle_w=2.0))
    path.write_text("time,power\n" + "".join(f"{0.05 * n:.2f},{2.5 + rng.normal(0, noise_w)}\n" for n in range(20000)))
    with pytest.raises(InputError, match="work does not stand out from rest"):
        trace.joined(result, path)


def test_a_record_shorter_than_the_run_is_refused(tmp_path):
    path = tmp_path / "short.csv"
    path.write_text("time,power\n0,1\n30,1\n")
    with pytest.raises(InputError, match=r"short\.csv: lasts 30\.0 s, and the run \d+\.\d s"):
        trace.joined(run(FakeMachine()), path)


def test_a_result_without_marks_has_nothing_to_join(tmp_path):
    result = {"variants": [{"name": "a", "bench": [{"energy": energy.unavailable("no meter")}]}]}
    path = tmp_path / "usb.csv"
    path.write_text("time,power\n0,1\n30,1\n")
    with pytest.raises(InputError, match="nothing to join it to; measure with the meter 'external' first"):
        trace.joined(result, path)


@pytest.mark.parametrize(
    "text",
    [
        "time,power\n0,2\n1,4\n3,4\n",
        "#time,current,voltage,power\n0,0,0,2\n1,0,0,4\n3,0,0,4\n",  # Joulescope
        "Time (s);Voltage (V);Current (mA)\n10;5;400\n11;5;800\n13;5;800\n",
        "timestamp sample voltage_V current_A\n0 0 5 0.4\n1 1 5 0.8\n\n3 2 5 0.8\n",  # FNIRSI loggers
        "t\tV\tA\n0\t5\t0.4\n1\t5\t0.8\n3\t5\t0.8\n",
    ],
)
def test_dialects_of_records(tmp_path, text):
    path = tmp_path / "record.csv"
    path.write_text(text)
    found = trace.read_trace(path)
    np.testing.assert_allclose(found.times_s - found.times_s[0], [0, 1, 3])
    np.testing.assert_allclose(found.joules, [0, 3, 11])


def test_dates_are_times(tmp_path):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    path = tmp_path / "record.csv"
    path.write_text("timestamp,W\n" + "".join(f"{(start + timedelta(seconds=s)).isoformat()},2\n" for s in (0, 5)))
    np.testing.assert_allclose(trace.read_trace(path).joules, [0, 10])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs titles for time, and for power or voltage and current, got"),
        ("time,voltage\n0,5\n", "needs titles for time"),
        ("time,power\n0,5\n1,much\n", "column 'power' is not numbers"),
        ("time,power\n0,5\n1\n", "column 'power' is not numbers"),
        ("time,power\n1,5\n0,5\n", "times should rise and every sample be a number"),
        ("time,power\n1,5\n2,nan\n", "times should rise and every sample be a number"),
        ("time,power\n1,5\n", "times should rise and every sample be a number"),
    ],
)
def test_a_file_that_is_no_record_is_refused(tmp_path, text, message):
    path = tmp_path / "record.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        trace.read_trace(path)


def test_a_missing_record_is_named(tmp_path):
    with pytest.raises(InputError, match=r"usb\.csv: cannot be read: .*No such file"):
        trace.read_trace(tmp_path / "usb.csv")
