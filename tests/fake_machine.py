"""A machine that exists on paper: its time passes when it works or sleeps, its sensors are files in a folder."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compressor.bench.errors import InputError

ANSWER = '#!/bin/sh\ncat "$0.$1"\n'  # the fake vcgencmd: one file for each question


@dataclass
class Repeat:
    call: Callable[[], None]
    every_s: float
    due_s: float


class FakeMachine:
    """A clock of `compressor.bench.clock`, and the power that sensors see meanwhile."""

    def __init__(self, idle_w: float = 2.0) -> None:
        self.idle_w = self.watts = idle_w
        self.sensors: list[Callable[[], None]] = []  # each shows what it sees now; called whenever time has passed
        self.now_s = self.busy_s = self.joules = 0.0
        self._repeats: list[Repeat] = []
        self._rng = random.Random(0)

    def now(self) -> float:
        return self.now_s

    def cpu_s(self) -> float:
        return self.busy_s

    def sleep(self, seconds: float) -> None:
        self.spend(seconds, self.idle_w)

    def work(self, seconds: float, watts: float) -> None:
        self.busy_s += seconds
        self.spend(seconds, watts)

    def spend(self, seconds: float, watts: float) -> None:
        """Let time pass, with a stop at every call that is due."""
        end_s, self.watts = self.now_s + seconds, watts
        while due := min((each for each in self._repeats if each.due_s <= end_s), key=lambda r: r.due_s, default=None):
            self._pass(due.due_s)
            due.call()
            due.due_s += due.every_s * self._rng.uniform(0.5, 1.5)
        self._pass(end_s)

    @contextmanager
    def repeat(self, call: Callable[[], None], every_s: float) -> Iterator[None]:
        self._repeats.append(each := Repeat(call, every_s, self.now_s + every_s))
        try:
            yield
        finally:
            self._repeats.remove(each)

    def _pass(self, until_s: float) -> None:
        self.joules += self.watts * (until_s - self.now_s)
        self.now_s = until_s
        for show in self.sensors:
            show()


def write(folder: Path, **contents: object) -> Path:
    """Write files of one value each, as Linux shows them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in contents.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def rapl_zone(root: Path, name: str, label: str, range_uj: int, start_uj: int = 0) -> Path:
    folder = root / "sys/class/powercap" / name
    return write(folder, name=label, max_energy_range_uj=range_uj, energy_uj=start_uj)


def follow(machine: FakeMachine, path: Path, start_uj: int, range_uj: int, share: float = 1.0, update_s: float = 0.0):
    """Let a counter follow the machine: updated every so often, around the end of its range."""
    shown_s = 0.0

    def show() -> None:
        nonlocal shown_s
        if machine.now_s - shown_s >= update_s:
            shown_s = machine.now_s
            path.write_text(f"{(start_uj + round(machine.joules * share * 1e6)) % range_uj}\n")

    machine.sensors.append(show)


def show_watts(machine: FakeMachine, write_watts: Callable[[float], object]) -> None:
    """Let files show the power, written when it changes."""
    shown_w = machine.watts

    def show() -> None:
        nonlocal shown_w
        if machine.watts != shown_w:
            shown_w = machine.watts
            write_watts(shown_w)

    write_watts(shown_w)
    machine.sensors.append(show)


def fake_rapl(root: Path, machine: FakeMachine) -> None:
    """Two packages that share the load; cores, psys and the mmio view repeat what they count."""
    full = 200_000_000
    for n in (0, 1):
        package = rapl_zone(root, f"intel-rapl:{n}", f"package-{n}", full, 199_000_000)
        follow(machine, package / "energy_uj", 199_000_000, full, share=0.5)
    for name, label in (("intel-rapl:0:0", "core"), ("intel-rapl:2", "psys"), ("intel-rapl-mmio:0", "package-0")):
        follow(machine, rapl_zone(root, name, label, full) / "energy_uj", 0, full, update_s=0.5)


def hwmon(root: Path, n: int, name: str, **contents: object) -> Path:
    return write(root / f"sys/class/hwmon/hwmon{n}", name=name, **contents)


def fake_hwmon(root: Path, machine: FakeMachine) -> None:
    """Two sockets with their cores counted beside them, just below 32 bits, and the energy of a graphics card."""
    start = (1 << 32) - 3_000_000
    hwmon(root, 0, "amdgpu", energy1_input=5)
    for n in (1, 2):
        labels = {"energy1_label": f"Ecore00{n}", "energy2_label": f"Esocket{n - 1}"}
        chip = hwmon(root, n, "amd_energy", energy1_input=7, energy2_input=start, **labels)
        follow(machine, chip / "energy2_input", start, 1 << 32, share=0.5)
        follow(machine, chip / "energy1_input", 7, 1 << 32, update_s=0.5)


def fake_ina3221(root: Path, machine: FakeMachine) -> None:
    """The input of a Jetson Orin Nano, two rails that it feeds, and the sum that the chip adds up."""
    labels = {"in1_label": "VDD_IN", "in2_label": "VDD_CPU_GPU_CV", "in3_label": "VDD_SOC", "in7_label": "sum of shunt"}
    chip = hwmon(root, 3, "ina3221", update_interval=50, in1_enable=1, curr4_input=900, in7_input=9, **labels)

    write(chip, in1_input=5000, in2_input=5000, in3_input=5000, curr2_input=111, curr3_input=222)
    show_watts(machine, lambda watts: write(chip, curr1_input=round(watts * 200)))


def fake_ina2xx(root: Path, machine: FakeMachine) -> None:
    """One add-on board, beside a chip that measures something else."""
    hwmon(root, 0, "cpu_thermal", temp1_input=40_000)
    chip = hwmon(root, 1, "ina226", update_interval=140, shunt_resistor=2000)

    show_watts(machine, lambda watts: write(chip, power1_input=round(watts * 1e6)))


def fake_vcgencmd(root: Path) -> Path:
    program = root / "usr/bin/vcgencmd"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(ANSWER)
    program.chmod(0o755)
    return program


def ask(question: str, root: Path) -> str:
    """Answer as the fake vcgencmd would, without starting a program."""
    answer = root / f"usr/bin/vcgencmd.{question}"
    if not answer.exists():
        raise InputError("vcgencmd has vanished")
    return answer.read_text()


def fake_pmic(root: Path, machine: FakeMachine) -> None:
    """Two rails of which one draws nothing; the input voltage and the clock's battery have no current."""
    program = fake_vcgencmd(root)

    def answer(watts: float) -> None:
        amperes = (watts - 0.5879) / 1.1451 / 0.8
        lines = [
            " 3V7_WL_SW_A current(0)=0.00000000A",
            f"   VDD_CORE_A current(7)={amperes:.8f}A",
            " 3V7_WL_SW_V volt(8)=3.72252400V",
            "   VDD_CORE_V volt(15)=0.80000000V",
            "      EXT5V_V volt(24)=5.14000000V",
            "       BATT_V volt(25)=0.01000000V",
        ]
        program.with_name("vcgencmd.pmic_read_adc").write_text("\n".join(lines))

    show_watts(machine, answer)


def fake_battery(root: Path, machine: FakeMachine) -> None:
    """A battery that shows what flows out as negative, the supply beside it, and the battery of a mouse."""
    supplies = root / "sys/class/power_supply"
    write(supplies / "AC", type="Mains", online=0)
    write(supplies / "hid-mouse", type="Battery", scope="Device", status="Discharging", power_now=1)
    battery = write(supplies / "BAT0", type="Battery", status="Discharging", voltage_now=10_000_000)

    show_watts(machine, lambda watts: write(battery, current_now=-round(watts * 1e5)))


TREES: dict[str, Callable[[Path, FakeMachine], None]] = {
    "rapl": fake_rapl,
    "hwmon": fake_hwmon,
    "ina3221": fake_ina3221,
    "ina2xx": fake_ina2xx,
    "pmic": fake_pmic,
    "battery": fake_battery,
}
