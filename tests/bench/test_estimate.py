"""Joules without a meter: a known law is found again, its error is honest, and what does not fit is refused."""

import random

import pytest
import yaml

from compressor.bench import estimate
from compressor.bench.errors import InputError, PlanError

BOARD = {"cpu": {"model": "Cortex-A76"}}


def result(n_files: int = 6, noise: float = 0.0, **changes: object) -> dict:
    """Files of several sizes and times whose joules follow 3 W of work and 2 nJ/byte."""
    rng, variants = random.Random(1), []
    for n in range(n_files):
        cpu_s, size_bytes = 0.01 * (n + 1), 10**6 * (7 * n % 5 + 1)
        net_j = (3.0 * cpu_s + 2e-9 * size_bytes) * (1 + rng.gauss(0, noise))
        energy = {"kind": "measured", "net_j": net_j, "cpu_s": cpu_s, "idle_w": 2.5, "meter": "pmic", "scope": "board"}
        variants.append({"name": f"file {n}", "size_bytes": size_bytes, "bench": [{"energy": energy | changes}]})
    return {"environment": BOARD, "variants": variants}


def test_a_known_law_is_found_again():
    profile = estimate.calibrated([result()])
    assert profile.active_w == pytest.approx(3.0)
    assert profile.joules_per_byte == pytest.approx(2e-9)
    assert profile.error_fraction == pytest.approx(0.0, abs=1e-9)
    assert (profile.cpu, profile.meter, profile.n_files) == ("Cortex-A76", "pmic", 6)


def test_the_error_is_that_of_files_left_out():
    profile = estimate.calibrated([result(n_files=40, noise=0.1)])
    assert profile.active_w == pytest.approx(3.0, rel=0.1)
    assert 0.05 < profile.error_fraction < 0.2


def test_a_file_that_is_unlike_the_others_counts_in_full():
    """One large file alone decides what a byte costs; without it, nothing is known of bytes."""
    points = [estimate.Point(0.1 * n, 1.0, 0.3 * n) for n in range(1, 5)] + [estimate.Point(0.1, 1e9, 1.3)]
    assert estimate.fit(points) == (pytest.approx(3.0), pytest.approx(1e-9))
    assert estimate.left_out_error(points) == pytest.approx((1.0 / 1.3) / 5**0.5)


def test_no_coefficient_is_negative():
    """Small files that cost more than large ones would ask for it."""
    points = [estimate.Point(0.1 * n, 1e6 / n, 0.3 * n - 2e-8 * 1e6 / n) for n in range(1, 7)]
    active_w, joules_per_byte = estimate.fit(points)
    assert active_w > 0
    assert joules_per_byte == 0


def test_an_estimate_says_that_it_is_one():
    profile = estimate.calibrated([result(noise=0.05)])
    found = estimate.estimated(profile, cpu_s=0.03, wall_s=0.015, size_bytes=2_000_000, cpu="Cortex-A76")
    assert found["kind"] == "estimated"
    assert found["net_j"] == pytest.approx(0.094, rel=0.1)
    assert found["gross_j"] == pytest.approx(found["net_j"] + 2.5 * 0.015)
    assert found["low"] < found["net_j"] < found["high"]
    assert found["mean_w"] == pytest.approx(found["gross_j"] / 0.015)
    assert found["edp_js"] == pytest.approx(found["gross_j"] * 0.015)
    assert found["profile"]["active_w"] == profile.active_w
    assert found["warnings"] == []


def test_an_estimate_for_another_processor_or_beyond_the_profile_is_flagged():
    profile = estimate.calibrated([result()])
    found = estimate.estimated(profile, cpu_s=1.0, wall_s=1.0, size_bytes=10, cpu="Cortex-A72")
    assert found["warnings"] == [
        "the profile was taken on Cortex-A76, the times on Cortex-A72",
        "this file takes less or more time than all those of the profile",
    ]


def test_a_profile_is_yaml_that_needs_no_yaml_library(tmp_path):
    profile, path = estimate.calibrated([result(noise=0.05)]), tmp_path / "profile.yaml"
    estimate.write_profile(profile, path)
    assert estimate.read_profile(path) == profile
    assert yaml.safe_load(path.read_text())["cpu"] == "Cortex-A76"
    path.write_text("# our board\n\n" + path.read_text())
    assert estimate.read_profile(path) == profile


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([result(n_files=4)], "needs 5 measured files, got 4"),
        ([result(kind="unavailable")], "needs 5 measured files, got 0"),
        ([result(), result(meter="rapl")], "one board and one meter at a time"),
        ([result(net_j=-0.1)], "the power of 'file 0' does not rise above idle"),
        ([result(cpu_s=None)], "the joules of 'file 0' lack processor time, idle power or meter"),
    ],
)
def test_measurements_that_make_no_profile_are_refused(results, message):
    with pytest.raises(InputError, match=f"^energy profile: {message}"):
        estimate.calibrated(results)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not an energy profile of format 1"),
        ("format: 2\n", "not an energy profile of format 1"),
        ("active_w: three\n", "not a readable energy profile"),
    ],
)
def test_a_file_that_is_no_profile_is_refused(tmp_path, text, message):
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    with pytest.raises(PlanError, match=message):
        estimate.read_profile(path)


@pytest.mark.parametrize("value", ['"six"', "-6", "6.5"])
def test_a_value_of_the_wrong_kind_is_shown(tmp_path, value):
    path = tmp_path / "profile.yaml"
    estimate.write_profile(estimate.calibrated([result()]), path)
    path.write_text(path.read_text().replace("n_files: 6", f"n_files: {value}"))
    with pytest.raises(PlanError, match="'n_files' should be a number that is not negative, got "):
        estimate.read_profile(path)


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(PlanError, match=r"no\.yaml: not a readable energy profile: .*No such file"):
        estimate.read_profile(tmp_path / "no.yaml")
    with pytest.raises(InputError, match=r"profile\.yaml: cannot be written: No such file"):
        estimate.write_profile(estimate.calibrated([result()]), tmp_path / "no" / "profile.yaml")
