"""Gates: each limit against its own kind, the worst shape, and what cannot be known."""

from typing import Any

import pytest

from compressor.report import limits
from compressor.report.document import Verdict

UNAVAILABLE = {"kind": "unavailable", "net_j": None}


def variant(name: str, accuracy: float, size_bytes: int, *p50_ms: float, net_j: float | None = None) -> dict[str, Any]:
    """One file, measured at length 32, 128, ..."""
    energy = UNAVAILABLE if net_j is None else {"kind": "measured", "net_j": net_j}
    bench = [
        {"batch_size": 1, "length": 32 * 4**i, "threads": 1, "p50_ms": p50, "energy": energy}
        for i, p50 in enumerate(p50_ms)
    ]
    kind = "original" if name.startswith("original") else "result"
    facts = {"kind": kind, "precision": name.split()[1], "accuracy": accuracy, "size_bytes": size_bytes}
    return {"name": name, **facts, "bench": bench}


@pytest.fixture
def report() -> dict[str, Any]:
    return {
        "variants": [
            variant("original fp32", 0.8945, 87, 9.0, 30.0, net_j=0.30),
            variant("original int8", 0.8979, 22, 4.0, 13.0, net_j=0.10),
            variant("compressed fp32", 0.8876, 52, 1.5, 6.0, net_j=0.06),
            variant("compressed int8", 0.8845, 11, 1.0, 3.9, net_j=0.04),
        ]
    }


def one(report: dict[str, Any], name: str, limit: float) -> Verdict:
    (found,) = limits.verdicts(report, {name: limit})
    assert (found["name"], found["limit"]) == (name, limit)
    return found


def test_only_limits_that_are_set_are_judged(report):
    unset = {"max_accuracy_drop": None, "max_p50_ratio": None, "max_size_ratio": None, "max_energy_ratio": None}
    assert limits.verdicts(report, unset) == []
    assert [each["name"] for each in limits.verdicts(report, unset | {"max_size_ratio": 0.6})] == ["max_size_ratio"]


def test_accuracy_is_that_of_the_last_file_against_the_original_in_fp32(report):
    found = one(report, "max_accuracy_drop", 0.010)
    assert found["value"] == pytest.approx(0.010)
    assert found["met"], "a drop of exactly the limit meets it, rounding or not"
    assert found["note"] == "compressed int8 against original fp32"
    assert not one(report, "max_accuracy_drop", 0.0099)["met"]


def test_the_worst_shape_decides_and_like_is_compared_with_like(report):
    found = one(report, "max_p50_ratio", 0.29)
    assert found["value"] == pytest.approx(3.9 / 13)
    assert found["note"] == "worst at 1x128"
    assert not found["met"]
    assert one(report, "max_p50_ratio", 0.3)["met"]


def test_without_int8_the_last_file_is_the_fp32_one(report):
    report["variants"].pop()
    assert one(report, "max_p50_ratio", 0.2)["value"] == pytest.approx(6 / 30)
    assert one(report, "max_size_ratio", 0.6)["value"] == pytest.approx(52 / 87)


def test_sizes(report):
    assert one(report, "max_size_ratio", 0.5) == {
        "name": "max_size_ratio",
        "limit": 0.5,
        "value": 0.5,
        "met": True,
        "note": "compressed int8 against original int8",
    }


def test_measured_joules_are_judged(report):
    assert one(report, "max_energy_ratio", 0.5)["value"] == pytest.approx(0.4)


@pytest.mark.parametrize("energy", [UNAVAILABLE, {"kind": "estimated", "net_j": 0.01}])
def test_only_measured_joules_are_judged(report, energy):
    for entry in report["variants"][-1]["bench"]:
        entry["energy"] = energy
    found = one(report, "max_energy_ratio", 0.5)
    assert (found["value"], found["met"]) == (None, False)
    assert found["note"] == f"energy is {energy['kind']}, and only measured joules are judged"


def test_energy_that_drowns_in_idle_power_is_not_judged(report):
    for entry in report["variants"][1]["bench"]:
        entry["energy"] = {"kind": "measured", "net_j": -0.001}
    found = one(report, "max_energy_ratio", 0.5)
    assert (found["value"], found["met"], found["note"]) == (None, False, "energy does not rise above idle")


def test_a_shape_the_original_lacks_is_not_judged(report):
    report["variants"][1]["bench"].pop()
    found = one(report, "max_p50_ratio", 0.5)
    assert (found["value"], found["met"]) == (None, False)
    assert found["note"] == "the original was not measured at 1x128"


@pytest.mark.parametrize("name", list(limits.MEASURES))
def test_a_run_without_results_meets_no_limit(report, name):
    found = one({"variants": report["variants"][:2]}, name, 1.0)
    assert (found["value"], found["met"]) == (None, False)
    assert found["note"]


def test_images_have_no_length(report):
    for each in report["variants"]:
        each["bench"] = [each["bench"][0] | {"length": None}]
    assert one(report, "max_p50_ratio", 0.5)["note"] == "worst at 1"


def test_judge_takes_the_limits_of_the_recipe(report):
    report["recipe"] = {"gates": {"max_size_ratio": 0.6}}
    assert [each["met"] for each in limits.judge(report)] == [True]
