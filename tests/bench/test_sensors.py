"""Watts that are read again and again become joules: exactly where they can, never by guessing."""

import random

import pytest
from fake_machine import FakeMachine

from compressor.bench import metering
from compressor.bench.errors import InputError
from compressor.bench.sensors import PowerMeter


def power_meter(machine: FakeMachine, watts, update_s: float = 0.1) -> PowerMeter:
    return PowerMeter("sensor", "board", update_s, averages=True, watts=watts, clock=machine)


def test_power_that_rises_evenly_is_integrated_exactly():
    machine = FakeMachine()
    with power_meter(machine, machine.now) as meter:
        machine.sleep(10.0)
        assert meter.joules() == pytest.approx(50.0)


def test_a_reading_that_failed_in_between_leaves_no_joules():
    """What the sensor missed is unknown, even if it came back."""
    machine = FakeMachine()

    def watts() -> float:
        if 4.0 < machine.now_s < 5.0:
            raise InputError("meter 'sensor': was away")
        return 2.0

    with power_meter(machine, watts) as meter:
        machine.sleep(3.0)
        assert meter.joules() == pytest.approx(6.0)
        machine.sleep(7.0)
        with pytest.raises(InputError, match="was away"):
            meter.joules()
    with meter:  # opened again, it starts anew
        assert meter.joules() == 0


def test_a_sensor_that_lags_behind_does_not_mix_files():
    """It shows the power of one update ago; the file before drew twice as much."""
    machine = FakeMachine(idle_w=2.0)
    history: list[tuple[float, float]] = []
    machine.sensors.append(lambda: history.append((machine.now_s, machine.watts)))

    def watts() -> float:
        while len(history) > 1 and history[1][0] <= machine.now_s - 1.0:
            history.pop(0)
        return history[0][1] if history else machine.idle_w

    runs = {"large": lambda: machine.work(0.5, 6.0), "small": lambda: machine.work(0.5, 3.0)}
    with power_meter(machine, watts, update_s=1.0) as meter:
        found = metering.compare(runs, meter, random.Random(0), machine)
    assert found["large"]["net_j"] == pytest.approx(2.0, rel=0.001)
    assert found["small"]["net_j"] == pytest.approx(0.5, rel=0.001)
