"""Laws that every file in compressor/bench/meters obeys, on a fake tree; a new meter brings its tree along."""

from collections.abc import Callable
from pathlib import Path

import pytest

from compressor.bench import energy
from compressor.bench.errors import InputError, PlanError

METERS = energy.discover()
Spend = Callable[[float], None]  # let the fake machine use that many joules


def zone(root: Path, name: str, label: str, full_uj: int, start_uj: int = 0) -> Path:
    folder = root / "sys/class/powercap" / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{label}\n")
    (folder / "max_energy_range_uj").write_text(f"{full_uj}\n")
    (folder / "energy_uj").write_text(f"{start_uj}\n")
    return folder


def add(folder: Path, uj: int) -> None:
    """Count on as the hardware does, around the end of the range."""
    full = int((folder / "max_energy_range_uj").read_text())
    (folder / "energy_uj").write_text(f"{(int((folder / 'energy_uj').read_text()) + uj) % full}\n")


def fake_rapl(root: Path) -> Spend:
    """Two packages that share the load; cores, psys and the mmio view repeat what they count."""
    full = 10_000_000
    packages = [zone(root, f"intel-rapl:{n}", f"package-{n}", full, start_uj=9_000_000) for n in (0, 1)]
    repeats = [zone(root, "intel-rapl:0:0", "core", full), zone(root, "intel-rapl:2", "psys", full)]
    repeats.append(zone(root, "intel-rapl-mmio:0", "package-0", full))

    def spend(joules: float) -> None:
        for package in packages:
            add(package, round(joules / 2 * 1e6))
        for repeat in repeats:
            add(repeat, round(joules * 1e6))

    return spend


TREES: dict[str, Callable[[Path], Spend]] = {"rapl": fake_rapl}


@pytest.mark.parametrize("name", METERS)
def test_counts_what_is_spent_and_never_decreases(name: str, tmp_path: Path):
    spend = TREES[name](tmp_path)
    assert METERS[name].Meter.available(tmp_path)
    with METERS[name].Meter(tmp_path) as meter:
        assert meter.joules() == 0
        total, last = 0.0, 0.0
        for joules in (0.5, 0.0, 3.0, 7.25, 0.001, 9.0):  # far enough to pass the end of a counter
            spend(joules)
            total += joules
            assert meter.joules() >= last
            last = meter.joules()
            assert last == pytest.approx(total, rel=0.01)
        assert meter.scope


@pytest.mark.parametrize("name", METERS)
def test_starts_again_from_zero(name: str, tmp_path: Path):
    spend = TREES[name](tmp_path)
    meter = METERS[name].Meter(tmp_path)
    for _ in range(2):
        with meter:
            spend(1.0)
            assert meter.joules() == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("name", METERS)
def test_a_missing_sensor_is_unavailable_never_zero(name: str, tmp_path: Path):
    assert not METERS[name].Meter.available(tmp_path)
    with pytest.raises(InputError, match=f"^meter '{name}': "), METERS[name].Meter(tmp_path):
        pass
    with pytest.raises(InputError, match=f"^meter '{name}': "):
        energy.choose(name, tmp_path)


@pytest.mark.parametrize("name", METERS)
def test_a_sensor_that_vanishes_is_an_error(name: str, tmp_path: Path):
    TREES[name](tmp_path)
    with METERS[name].Meter(tmp_path) as meter:
        (tmp_path / "sys").rename(tmp_path / "gone")
        with pytest.raises(InputError, match=f"^meter '{name}': .* vanished"):
            meter.joules()


@pytest.mark.parametrize("name", METERS)
def test_auto_finds_it(name: str, tmp_path: Path):
    TREES[name](tmp_path)
    assert energy.choose("auto", tmp_path) == (name, "")
    assert energy.choose(name, tmp_path) == (name, "")


def test_auto_without_a_meter_says_so(tmp_path: Path):
    said: list[str] = []
    with energy.opened("auto", tmp_path, said.append) as (meter, account):
        assert meter is None
        result = account([])
    assert result["kind"] == "unavailable"
    assert result["net_j"] is None
    assert result["reason"] == "none of the meters (rapl) is on this machine"
    assert said == [f"energy: unavailable, {result['reason']}"]


def test_an_unknown_meter_is_a_wrong_plan(tmp_path: Path):
    with pytest.raises(PlanError, match="no meter 'ralp'; choose from auto, none, rapl"):
        energy.choose("ralp", tmp_path)


@pytest.fixture
def forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Counters that root alone may read; the tests themselves may run as root."""
    fake_rapl(tmp_path)
    read_text = Path.read_text

    def refuse(path: Path, *given: str, **named: str) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *given, **named)

    monkeypatch.setattr(Path, "read_text", refuse)
    return tmp_path


def test_rapl_explains_a_refused_counter(forbidden: Path):
    name, reason = energy.choose("auto", forbidden)
    assert name is None
    assert "energy_uj is readable by root only; run as root, or allow it with 'chmod a+r' as root" in reason
    with pytest.raises(InputError, match="readable by root only"):
        energy.choose("rapl", forbidden)


def test_rapl_adds_memory_that_is_counted_apart(tmp_path: Path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 10**9)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 10**9)
    with METERS["rapl"].Meter(tmp_path) as meter:
        add(package, 2_000_000)
        add(memory, 500_000)
        assert meter.joules() == pytest.approx(2.5)
        assert meter.scope == "cpu package and memory"


def test_idle_power_is_energy_over_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spend, now = fake_rapl(tmp_path), [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        spend(4.0 * seconds)

    with METERS["rapl"].Meter(tmp_path) as meter:
        assert energy.idle_power_w(meter, 2.0, clock=lambda: now[0], sleep=sleep) == pytest.approx(4.0)
