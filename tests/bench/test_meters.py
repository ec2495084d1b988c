"""What the laws cannot say of single meters: labels, wrap-around, what is counted once, what is refused and why."""

import random
from pathlib import Path

import pytest
from fake_machine import FakeMachine, ask, fake_battery, fake_pmic, fake_vcgencmd, hwmon, rapl_zone, write

from compressor.bench import energy, vcgencmd
from compressor.bench.errors import InputError
from compressor.bench.meters import battery, ina2xx, ina3221, pmic, rapl
from compressor.bench.meters import hwmon as hwmon_meter


def add(zone: Path, uj: int) -> None:
    """Count on as the hardware does, around the end of the range."""
    full = int((zone / "max_energy_range_uj").read_text())
    write(zone, energy_uj=(int((zone / "energy_uj").read_text()) + uj) % full)


@pytest.mark.parametrize(
    ("meter", "said"),
    [
        (hwmon_meter, "meter 'hwmon': no chip under /sys/class/hwmon has an energy counter"),
        (ina2xx, "meter 'ina2xx': no INA219, INA226 or kin with power1_input under /sys/class/hwmon"),
        (ina3221, "meter 'ina3221': no INA3221 with a connected rail under /sys/class/hwmon"),
    ],
)
def test_a_chip_that_is_absent_is_told(tmp_path, meter, said):
    hwmon(tmp_path, 0, "coretemp", temp1_input=40_000)
    assert not meter.available(tmp_path)
    with pytest.raises(InputError, match=said):
        meter.open_meter(tmp_path)


def test_rapl_adds_memory_that_is_counted_apart(tmp_path):
    package = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 10**9)
    memory = rapl_zone(tmp_path, "intel-rapl:0:1", "dram", 10**9)
    with rapl.open_meter(tmp_path) as meter:
        add(package, 2_000_000)
        add(memory, 500_000)
        assert meter.joules() == pytest.approx(2.5)
        assert meter.scope == "cpu package and memory"


@pytest.mark.parametrize("spoilt", ["hidden", "no name"])
def test_rapl_that_cannot_be_read_leaves_auto_without_joules(tmp_path, spoilt):
    """In a container, the zones are links into a folder that its runtime hides."""
    if spoilt == "hidden":
        zones = tmp_path / "sys/class/powercap"
        zones.mkdir(parents=True)
        for name in ("intel-rapl", "intel-rapl:0", "intel-rapl:0:0"):
            (zones / name).symlink_to(f"../../devices/virtual/powercap/intel-rapl/{name}")
        reason = "leads nowhere; container runtimes hide the counters"
    else:
        (rapl_zone(tmp_path, "intel-rapl:0", "package-0", 10**9) / "name").unlink()
        reason = "name is missing or has vanished"
    chosen, why = energy.choose("auto", tmp_path)
    assert (chosen, reason in why) == (None, True)
    with energy.chosen("auto", tmp_path) as (meter, reported):
        assert (meter, reason in (reported or "")) == (None, True)
    with pytest.raises(InputError, match=reason):
        energy.choose("rapl", tmp_path)


def test_rapl_counts_packages_once_and_each_wraps_by_itself(tmp_path):
    zones = [rapl_zone(tmp_path, f"intel-rapl:{n}", f"package-{n}", 10**7, 9 * 10**6) for n in (0, 1)]
    repeats = [rapl_zone(tmp_path, "intel-rapl:2", "psys", 10**7), rapl_zone(tmp_path, "intel-rapl:0:0", "core", 10**7)]
    with rapl.open_meter(tmp_path) as meter:
        add(zones[0], 3 * 10**6)
        add(zones[1], 500_000)
        for repeat in repeats:
            add(repeat, 10**6)
        assert meter.joules() == pytest.approx(3.5)
        assert meter.scope == "2 cpu packages"


def test_a_counter_that_was_reset_is_no_wrap_around(tmp_path):
    zone = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 10**9, 10**8)
    with rapl.open_meter(tmp_path) as meter:
        write(zone, energy_uj=5)
        with pytest.raises(InputError, match="energy_uj went back from 100000000 to 5; was it reset"):
            meter.joules()


def test_a_counter_that_is_not_a_number_is_shown(tmp_path):
    write(rapl_zone(tmp_path, "intel-rapl:0", "package-0", 10**9), energy_uj="N/A")
    with pytest.raises(InputError, match="energy_uj should hold a number, got 'N/A'"), rapl.open_meter(tmp_path):
        pass


def test_hwmon_takes_chips_of_one_name_only(tmp_path):
    """Two kinds of chips may see the same joules."""
    first = hwmon(tmp_path, 4, "ina228", energy1_input=10)
    hwmon(tmp_path, 1, "ltc4282", energy1_input=10)
    with hwmon_meter.open_meter(tmp_path) as meter:
        write(first, energy1_input=1_000_010)
        assert meter.joules() == pytest.approx(1.0)
        assert meter.scope == "ina228: energy1"


def test_hwmon_leaves_graphics_cards_out(tmp_path):
    hwmon(tmp_path, 0, "xe", energy1_input=10)
    assert not hwmon_meter.available(tmp_path)


def rails(tmp_path: Path, *labels: str, n: int = 0, milliamperes: int = 200) -> None:
    contents: dict[str, object] = {f"in{k}_label": label for k, label in enumerate(labels, start=1)}
    contents |= {f"in{k}_input": 5000 for k in range(1, len(labels) + 1)}
    contents |= {f"curr{k}_input": milliamperes for k in range(1, len(labels) + 1)}
    hwmon(tmp_path, n, "ina3221", **contents)


@pytest.mark.parametrize("label", ["VDD_IN", "POM_5V_IN", "vdd_in", "System power"])
def test_a_jetson_is_measured_at_its_input(tmp_path, label):
    rails(tmp_path, "VDD_CPU_GPU_CV", label, "VDD_SOC")
    machine = FakeMachine()
    with ina3221.open_meter(tmp_path, machine) as meter:
        machine.sleep(2.0)
        assert meter.joules() == pytest.approx(2.0)
        assert meter.scope == f"board input {label}"


def test_a_jetson_without_an_input_rail_is_the_sum_of_its_rails(tmp_path):
    """An AGX Xavier has two chips; what is not connected is left out."""
    rails(tmp_path, "GPU", "CPU", "SOC")
    rails(tmp_path, "CV", "NC", "SYS5V", n=1)
    write(tmp_path / "sys/class/hwmon/hwmon1", in1_enable=0)
    machine = FakeMachine()
    with ina3221.open_meter(tmp_path, machine) as meter:
        machine.sleep(2.0)
        assert meter.joules() == pytest.approx(8.0)
        assert meter.scope == "rails GPU + CPU + SOC + SYS5V"


def test_channels_without_labels_are_numbered(tmp_path):
    hwmon(tmp_path, 0, "ina3221", in2_input=5000, curr2_input=200)
    assert ina3221.open_meter(tmp_path).scope == "rails channel 2"


def test_the_driver_of_old_jetsons_shows_milliwatts(tmp_path):
    folder = tmp_path / "sys/bus/i2c/drivers/ina3221x/1-0040/iio:device0"
    write(folder, rail_name_0="VDD_IN", in_power0_input=4000, rail_name_1="VDD_CPU", in_power1_input=900)
    machine = FakeMachine()
    with ina3221.open_meter(tmp_path, machine) as meter:
        machine.sleep(2.0)
        assert meter.joules() == pytest.approx(8.0)
        assert meter.scope == "board input VDD_IN"


def test_a_chip_that_is_faster_than_the_readings_shows_instants(tmp_path):
    hwmon(tmp_path, 0, "ina226", power1_input=1, update_interval=2)
    assert not ina2xx.open_meter(tmp_path).averages
    hwmon(tmp_path, 0, "ina226", power1_input=1, update_interval=140)
    meter = ina2xx.open_meter(tmp_path, FakeMachine())
    assert meter.averages
    with meter:
        assert meter.update_s == 0.14


def test_several_monitors_are_added_unless_one_is_the_input(tmp_path):
    """Four rails of an ODROID; the input of a Jetson Thor."""
    for n, label in enumerate(("ARM", "MEM")):
        hwmon(tmp_path, n, "ina231", power1_input=1_500_000, power1_label=label)
    assert ina2xx.open_meter(tmp_path).scope == "rails ARM + MEM"
    hwmon(tmp_path, 2, "ina238", power1_input=9_000_000, in1_label="VIN")
    assert ina2xx.open_meter(tmp_path).scope == "board input VIN"


def test_a_reading_that_takes_long_makes_the_meter_slower(tmp_path):
    """As a vcgencmd on a busy board: asked for every 0.2 s, it comes every second and later."""
    machine = FakeMachine(idle_w=3.0)
    fake_pmic(tmp_path, machine)

    def slow(question: str, root: Path) -> str:
        machine.now_s += 1.0
        return ask(question, root)

    with pmic.open_meter(tmp_path, machine, slow) as meter:
        assert meter.update_s == 0.2
        for _ in range(50):
            meter.joules()
        assert meter.update_s == pytest.approx(1.0, rel=0.02)


def test_a_pi_4_has_volts_only(tmp_path):
    program = fake_vcgencmd(tmp_path)
    program.with_name("vcgencmd.pmic_read_adc").write_text("VDD_CORE_V volt(15)=0.8V")
    expected = "^meter 'pmic': 'vcgencmd pmic_read_adc' shows no currents; only the Raspberry Pi 5 measures them$"
    with pytest.raises(InputError, match=expected), pmic.open_meter(tmp_path, FakeMachine(), ask):
        pass


def test_the_firmware_is_asked_by_its_program(tmp_path):
    fake_vcgencmd(tmp_path).with_name("vcgencmd.get_throttled").write_text("throttled=0x0\n")
    assert vcgencmd.ask("get_throttled", tmp_path) == "throttled=0x0\n"
    with pytest.raises(InputError, match=r"'vcgencmd pmic_read_adc' failed: .*No such file"):
        vcgencmd.ask("pmic_read_adc", tmp_path)


def test_a_program_that_cannot_be_run_is_named(tmp_path):
    with pytest.raises(InputError, match="vcgencmd has vanished or cannot be run: No such file"):
        vcgencmd.ask("get_throttled", tmp_path)


def test_a_battery_tells_nothing_while_the_supply_is_plugged_in(tmp_path):
    machine = FakeMachine()
    fake_battery(tmp_path, machine)
    with battery.open_meter(tmp_path, machine) as meter:
        machine.sleep(5.0)
        assert meter.joules() == pytest.approx(10.0)
        write(tmp_path / "sys/class/power_supply/BAT0", status="Charging")
        machine.sleep(5.0)
        with pytest.raises(InputError, match="BAT0 is 'Charging'; unplug the supply, only a discharging battery"):
            meter.joules()
    assert "unplug the supply" in energy.choose("auto", tmp_path)[1]


def test_one_battery_may_rest_while_the_other_gives(tmp_path):
    supplies = tmp_path / "sys/class/power_supply"
    write(supplies / "BAT0", type="Battery", status="Discharging", power_now=4_000_000)
    write(supplies / "BAT1", type="Battery", status="Not charging", power_now=0)
    machine = FakeMachine()
    with battery.open_meter(tmp_path, machine) as meter:
        machine.sleep(5.0)
        assert meter.joules() == pytest.approx(20.0)


@pytest.mark.parametrize("seed", range(3))
def test_a_load_that_changes_is_followed_by_trapezoids(tmp_path, seed):
    """Bursts longer than a few readings, at times of their own."""
    machine, rng, spent_j = FakeMachine(), random.Random(seed), 0.0
    machine.watts = 3.0
    fake_pmic(tmp_path, machine)
    with pmic.open_meter(tmp_path, machine, ask) as meter:
        for _ in range(100):
            seconds, watts = rng.uniform(1.0, 3.0), rng.choice((3.0, 6.0))
            machine.work(seconds, watts)
            spent_j += seconds * watts
        assert meter.joules() == pytest.approx(spent_j, rel=0.01)


def test_the_page_on_measuring_lists_every_meter():
    page = (Path(__file__).resolve().parents[2] / "docs/how-to/energy.md").read_text()
    assert [name for name in energy.discover() if f"\n| `{name}` | " not in page] == []
