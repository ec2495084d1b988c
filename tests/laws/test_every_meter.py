"""Laws that every file in compressor/bench/meters obeys, on a fake tree; a new meter brings its tree along."""

import random
from inspect import signature
from pathlib import Path

import pytest
from fake_machine import TREES, FakeMachine, ask

from compressor.bench import energy, metering
from compressor.bench.errors import InputError, PlanError
from compressor.bench.meters import Meter

METERS = energy.discover()
LIVE = [name for name in METERS if name != "external"]  # whose joules come later: tests/bench/test_trace.py
WATTS = 5.0


def open_meter(name: str, root: Path, machine: FakeMachine) -> Meter:
    """Open a meter with what it lets in of the fake machine."""
    found = METERS[name].open_meter
    fakes = {"clock": machine, "ask": ask}
    return found(root, **{key: fakes[key] for key in signature(found).parameters.keys() & fakes})


def vanish(root: Path) -> None:
    for name in ("sys", "usr"):
        if (root / name).exists():
            (root / name).rename(root / f"gone-{name}")


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine(idle_w=WATTS)


@pytest.mark.parametrize("name", LIVE)
def test_counts_what_is_spent_and_never_decreases(name: str, tmp_path: Path, machine: FakeMachine):
    TREES[name](tmp_path, machine)
    assert METERS[name].available(tmp_path)
    with open_meter(name, tmp_path, machine) as meter:
        assert meter.joules() == 0
        total, last = 0.0, 0.0
        for joules in (0.5, 0.0, 3.0, 7.25, 0.001, 9.0):  # far enough to pass the end of a counter
            machine.work(joules / WATTS, WATTS)
            total += joules
            assert meter.joules() >= last
            last = meter.joules()
            assert last == pytest.approx(total, rel=0.01)
        assert meter.name == name
        assert meter.scope
        assert meter.update_s > 0


@pytest.mark.parametrize("name", LIVE)
def test_starts_again_from_zero(name: str, tmp_path: Path, machine: FakeMachine):
    TREES[name](tmp_path, machine)
    meter = open_meter(name, tmp_path, machine)
    for _ in range(2):
        with meter:
            machine.work(1 / WATTS, WATTS)
            assert meter.joules() == pytest.approx(1.0, rel=0.01)
        machine.sleep(100.0 / WATTS)  # closed, it counts nothing


@pytest.mark.parametrize("name", LIVE)
def test_simulated_loads_are_recovered_within_a_hundredth(name: str, tmp_path: Path):
    """Two files of known power and time, above a known idle power."""
    machine = FakeMachine(idle_w=2.0)
    TREES[name](tmp_path, machine)
    runs = {"large": lambda: machine.work(1.0, 6.0), "small": lambda: machine.work(0.5, 4.5)}
    with open_meter(name, tmp_path, machine) as meter:
        found = metering.compare(runs, meter, random.Random(0), machine, tmp_path / "no sensors of heat")
    for file, net_j, gross_j, inferences_per_s in (("large", 4.0, 6.0, 1.0), ("small", 1.25, 2.25, 2.0)):
        assert found[file]["kind"] == "measured"
        assert found[file]["net_j"] == pytest.approx(net_j, rel=0.01)
        assert found[file]["gross_j"] == pytest.approx(gross_j, rel=0.01)
        assert found[file]["mean_w"] == pytest.approx(gross_j * inferences_per_s, rel=0.01)
        assert found[file]["inferences_per_s"] == pytest.approx(inferences_per_s, rel=0.01)
        assert found[file]["edp_js"] == pytest.approx(gross_j / inferences_per_s, rel=0.01)
        assert found[file]["warnings"] == []


@pytest.mark.parametrize("name", LIVE)
def test_a_missing_sensor_is_unavailable_never_zero(name: str, tmp_path: Path):
    assert not METERS[name].available(tmp_path)
    with pytest.raises(InputError, match=f"^meter '{name}': "):
        METERS[name].open_meter(tmp_path)
    with pytest.raises(InputError, match=f"^meter '{name}': [^\n]*$"):
        energy.choose(name, tmp_path)


@pytest.mark.parametrize("name", LIVE)
def test_a_sensor_that_vanishes_is_an_error(name: str, tmp_path: Path, machine: FakeMachine):
    TREES[name](tmp_path, machine)
    with open_meter(name, tmp_path, machine) as meter:
        vanish(tmp_path)
        with pytest.raises(InputError, match=f"^meter '{name}': .* vanished"):
            meter.joules()


@pytest.mark.parametrize("name", LIVE)
def test_a_sensor_that_vanishes_on_the_way_gives_no_joules(name: str, tmp_path: Path, machine: FakeMachine):
    """Even if it comes back: what it missed is unknown."""
    TREES[name](tmp_path, machine)

    def work() -> None:
        if machine.busy_s > 10:
            machine.sensors.clear()
            vanish(tmp_path)
        machine.work(0.5, WATTS)

    with open_meter(name, tmp_path, machine) as meter:
        found = metering.compare({"file": work}, meter, random.Random(0), machine, tmp_path / "no sensors of heat")
    assert found["file"]["kind"] == "unavailable"
    assert "vanished" in str(found["file"]["reason"])


@pytest.mark.parametrize("name", [name for name in LIVE if name != "pmic"])  # its correction never gives nought
def test_a_sensor_that_stands_still_gives_no_joules(name: str, tmp_path: Path):
    """Counters that never move; watts that are nought."""
    machine = FakeMachine(idle_w=0.0)
    TREES[name](tmp_path, machine)
    machine.sensors.clear()
    runs = {"file": lambda: machine.work(0.5, WATTS)}
    with open_meter(name, tmp_path, machine) as meter:
        found = metering.compare(runs, meter, random.Random(0), machine, tmp_path / "no sensors of heat")
    assert str(found["file"]["reason"]).startswith(f"meter '{name}': its counters stood still for ")


@pytest.mark.parametrize("name", LIVE)
def test_auto_finds_it(name: str, tmp_path: Path, machine: FakeMachine):
    TREES[name](tmp_path, machine)
    assert energy.choose("auto", tmp_path) == (name, "")
    assert energy.choose(name, tmp_path) == (name, "")


def test_auto_prefers_counters_to_watts_and_the_battery_last(tmp_path: Path, machine: FakeMachine):
    for name in LIVE:
        TREES[name](tmp_path, machine)
    assert list(METERS) == ["rapl", "hwmon", "ina3221", "ina2xx", "pmic", "battery", "external"]
    assert energy.choose("auto", tmp_path) == ("rapl", "")


def test_auto_without_a_meter_says_so(tmp_path: Path):
    reason = f"none of the meters ({', '.join(METERS)}) is on this machine"
    assert energy.choose("auto", tmp_path) == (None, reason)
    found = metering.energies({"file": lambda: None}, "auto", random.Random(0), tmp_path)
    assert found["file"]["kind"] == "unavailable"
    assert found["file"]["net_j"] is None
    assert found["file"]["reason"] == reason


def test_an_unknown_meter_is_a_wrong_plan(tmp_path: Path):
    with pytest.raises(PlanError, match="no meter 'ralp'; choose from auto, none, rapl, hwmon"):
        energy.choose("ralp", tmp_path)


@pytest.mark.parametrize("name", [name for name in LIVE if name != "pmic"])
def test_a_sensor_that_only_root_may_read_is_explained(
    name: str, tmp_path: Path, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
):
    """The tests themselves may run as root, who may read everything."""
    TREES[name](tmp_path, machine)
    read_text = Path.read_text

    def refuse(path: Path, *given: str, **named: str) -> str:
        if path.name in ("energy_uj", "energy2_input", "curr1_input", "power1_input", "current_now"):
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *given, **named)

    monkeypatch.setattr(Path, "read_text", refuse)
    chosen, reason = energy.choose("auto", tmp_path)
    assert chosen is None
    assert "is readable by root only; run as root, or allow it with 'chmod a+r' as root" in reason
    with pytest.raises(InputError, match=f"^meter '{name}': .* readable by root only"):
        energy.choose(name, tmp_path)
