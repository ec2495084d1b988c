"""What slowed the processor down, as the kernel and a Raspberry Pi's firmware tell it."""

import pytest
from fake_machine import ask, fake_vcgencmd, write

from compressor.bench import thermal


def test_a_machine_that_shows_nothing_has_nothing_to_complain_of(tmp_path):
    state = thermal.state(tmp_path)
    assert set(state.values()) == {None}
    assert thermal.complaints(state, state) == []


def test_sensors_of_parts_that_are_off_are_left_out(tmp_path):
    zones = tmp_path / "sys/class/thermal"
    write(zones / "thermal_zone0", temp=40_000)
    write(zones / "thermal_zone1", temp="")
    (zones / "thermal_zone2" / "temp").mkdir(parents=True)
    assert thermal.state(tmp_path)["temperature_c"] == 40.0


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("0x0", "0x0", []),
        ("0x50000", "0x50000", []),  # since boot, but not while we measured
        ("0x0", "0x20000", ["firmware: frequency capped"]),
        ("0x50005", "0x50005", ["firmware: under-voltage", "firmware: throttled"]),
        ("0x0", "0x80008", ["firmware: soft temperature limit"]),
    ],
)
def test_the_firmware_of_a_raspberry_pi_is_asked(tmp_path, before, after, expected):
    answer = fake_vcgencmd(tmp_path).with_name("vcgencmd.get_throttled")
    states = []
    for bits in (before, after):
        answer.write_text(f"throttled={bits}\n")
        states.append(thermal.state(tmp_path, ask))
    assert thermal.complaints(*states) == expected


def test_a_firmware_that_does_not_answer_is_a_doubt(tmp_path):
    fake_vcgencmd(tmp_path)
    state = thermal.state(tmp_path, ask)
    assert thermal.complaints(state, state) == ["throttling is unknown: vcgencmd has vanished"]
