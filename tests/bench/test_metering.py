"""How energy is measured: simulated loads of known power, and the ways in which a meter can mislead."""

import math
import random
import threading
from pathlib import Path

import pytest
from fake_machine import FakeMachine, ask, fake_battery, fake_pmic, follow, rapl_zone, write

from compressor.bench import energy, metering
from compressor.bench.clock import HOST_CLOCK
from compressor.bench.meters import Meter, battery, pmic, rapl

FULL = 10**12


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine(idle_w=2.0)


def counter(root: Path, machine: FakeMachine, update_s: float) -> Meter:
    follow(machine, rapl_zone(root, "intel-rapl:0", "package-0", FULL) / "energy_uj", 0, FULL, update_s=update_s)
    return rapl.open_meter(root)


def compare(meter: Meter, machine: FakeMachine, root: Path, **runs: metering.Run) -> dict:
    with meter:
        return metering.compare(runs, meter, random.Random(0), machine, root)


def test_a_counter_slower_than_it_says_gets_longer_windows(tmp_path, machine):
    found = compare(counter(tmp_path, machine, 0.7), machine, tmp_path, file=lambda: machine.work(0.31, 5.0))["file"]
    assert found["net_j"] == pytest.approx(3.0 * 0.31, rel=0.01)
    windows = found["marks"]["windows"]
    assert len(windows) == energy.MIN_WINDOWS
    assert all(stop - start >= 70 for start, stop, *_ in windows)


def test_a_sensor_of_instants_refuses_a_load_that_rests(tmp_path, machine):
    """Half the time at work, in the rhythm of the sensor: it could see anything from rest to full load."""
    fake_pmic(tmp_path, machine)

    def run() -> None:
        machine.work(0.1, 5.0)
        machine.spend(0.1, 2.5)

    found = compare(pmic.open_meter(tmp_path, machine, ask), machine, tmp_path / "none", file=run)["file"]
    assert found["kind"] == "unavailable"
    assert found["reason"] == (
        "the program was on a processor for 50% of the time only, and meter 'pmic' sees instants:"
        " what lies between two of them is unknown"
    )


def test_a_counter_measures_a_load_that_rests_and_says_so(tmp_path, machine):
    def run() -> None:
        machine.work(0.1, 5.0)
        machine.spend(0.1, 2.5)

    found = compare(counter(tmp_path, machine, 0.0), machine, tmp_path, file=run)["file"]
    assert found["gross_j"] == pytest.approx(0.75, rel=0.01)
    assert found["warnings"] == [
        "the program was on a processor for 50% of the time only: waiting is part of these joules"
    ]


def test_files_take_turns_in_an_order_that_changes(tmp_path, machine):
    runs = {name: lambda watts=watts: machine.work(0.5, watts) for name, watts in (("a", 4.0), ("b", 6.0), ("c", 5.0))}
    found = compare(counter(tmp_path, machine, 0.0), machine, tmp_path, **runs)
    starts = sorted((window[0], name) for name in runs for window in found[name]["marks"]["windows"])
    cycles = ["".join(name for _, name in starts[at : at + 3]) for at in range(0, 15, 3)]
    assert all(sorted(cycle) == ["a", "b", "c"] for cycle in cycles)
    assert len(set(cycles)) > 1
    assert all(found[name]["marks"]["idle"] == found["a"]["marks"]["idle"] for name in runs)


def test_work_warms_up_until_its_power_is_steady(tmp_path, machine):
    """A processor that starts above its lasting power."""

    def run() -> None:
        machine.work(0.5, 5.0 + 3.0 * math.exp(-machine.busy_s / 5))

    found = compare(counter(tmp_path, machine, 0.0), machine, tmp_path, file=run)["file"]
    assert found["net_j"] == pytest.approx(1.5, rel=0.01)
    assert found["warnings"] == []


def test_power_that_never_settles_is_flagged(tmp_path, machine):
    def run() -> None:
        machine.work(0.5, 4.0 + machine.busy_s / 10)

    found = compare(counter(tmp_path, machine, 0.0), machine, tmp_path, file=run)["file"]
    assert "the power was not steady after the warm-up" in found["warnings"]
    assert found["low"] < found["net_j"] < found["high"]


def test_idle_power_that_moves_is_flagged(tmp_path, machine):
    def run() -> None:
        machine.idle_w = 2.5  # a fan that stays on
        machine.work(0.5, 5.0)

    found = compare(counter(tmp_path, machine, 0.0), machine, tmp_path, file=run)["file"]
    assert found["warnings"] == ["idle power moved from 2.00 W to 2.50 W"]
    assert found["idle_w"] == pytest.approx(2.25, rel=0.01)
    assert (found["idle_before_w"], found["idle_after_w"]) == (pytest.approx(2.0, 0.01), pytest.approx(2.5, 0.01))


def test_work_that_the_meter_does_not_see_is_flagged(tmp_path, machine):
    found = compare(counter(tmp_path, machine, 0.0), machine, tmp_path, file=lambda: machine.work(0.5, 1.9))["file"]
    assert "the power does not rise above idle: does the meter see this processor?" in found["warnings"]


def test_a_counter_that_stops_on_the_way_gives_no_joules(tmp_path, machine):
    def run() -> None:
        if machine.busy_s > 30:
            machine.sensors.clear()
        machine.work(0.5, 5.0)

    found = compare(counter(tmp_path, machine, 0.0), machine, tmp_path, file=run)["file"]
    assert found["kind"] == "unavailable"
    assert found["reason"] == "meter 'rapl': its counters stood still for 10 s"


def test_a_supply_that_is_plugged_in_on_the_way_gives_no_joules(tmp_path, machine):
    fake_battery(tmp_path, machine)

    def run() -> None:
        if machine.busy_s > 100:
            write(tmp_path / "sys/class/power_supply/BAT0", status="Charging")
        machine.work(0.5, 5.0)

    found = compare(battery.open_meter(tmp_path, machine), machine, tmp_path, file=run)["file"]
    assert found["kind"] == "unavailable"
    assert "BAT0 is 'Charging'; unplug the supply" in found["reason"]


def test_without_a_meter_nothing_is_run(tmp_path):
    def run() -> None:
        raise AssertionError

    found = metering.energies({"file": run}, "auto", random.Random(0), tmp_path)["file"]
    assert found["kind"] == "unavailable"
    assert found["reason"].endswith("is on this machine")


def test_the_meter_asked_for_is_opened_and_measures(tmp_path, monkeypatch):
    """On the real clock, too short to tell anything but that each run costs a joule."""
    zone = rapl_zone(tmp_path, "intel-rapl:0", "package-0", FULL)
    for name in ("IDLE_S", "SETTLE_S", "SLICE_S", "WINDOW_S", "STEP_S", "STEADY_LIMIT_S"):
        monkeypatch.setattr(metering, name, 0.001)
    monkeypatch.setattr(metering, "MIN_UPDATES", 1)
    n_runs = 0

    def run() -> None:
        nonlocal n_runs
        n_runs += 1
        write(zone, energy_uj=n_runs * 10**6)

    monkeypatch.setattr(metering, "idle", lambda *_: metering.Idle(1.0, 0.0, 0.0, 1.0))
    found = metering.energies({"file": run}, "rapl", random.Random(0), tmp_path)["file"]
    assert found["kind"] == "measured"
    assert found["meter"] == "rapl"
    assert found["gross_j"] == pytest.approx(1.0)


def test_throttling_and_the_governor_are_recorded(tmp_path, machine):
    cpu = tmp_path / "sys/devices/system/cpu/cpu0"
    write(cpu / "cpufreq", scaling_governor="powersave", scaling_cur_freq=1_800_000)
    write(tmp_path / "sys/class/thermal/thermal_zone0", temp=81_500)
    write(cpu / "thermal_throttle", package_throttle_count=3)

    def run() -> None:
        write(cpu / "thermal_throttle", package_throttle_count=7)
        machine.work(0.5, 5.0)

    found = compare(counter(tmp_path, machine, 0.0), machine, tmp_path, file=run)["file"]
    assert found["warnings"] == ["the processor throttled: its counters rose by 4"]
    assert found["host"] == {
        "governor": "powersave",
        "frequency_mhz": 1800.0,
        "temperature_c": 81.5,
        "n_throttles": 7,
        "firmware_bits": None,
        "firmware_error": None,
    }


def test_the_meter_is_read_in_the_background_of_this_machine():
    """The one test on a real clock: the thread starts, calls, and ends with the context."""
    called = threading.Event()
    with HOST_CLOCK.repeat(called.set, 0.001):
        assert called.wait(60)
    assert "meter" not in [thread.name for thread in threading.enumerate()]
