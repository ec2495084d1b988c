# ruff: noqa: RUF001 - the page writes the signs for times and minus
"""The verdict: one sentence, how the gates stand, and the facts behind them."""

import json

import pytest
from fake_run import ACCURACY, P50_MS, board, emulated, energy, finished_run, unfinished_run

from compressor.report import compare, headline, text, words
from compressor.report.gather import gather
from compressor.report.limits import verdicts

LIMITS = {"max_accuracy_drop": 0.01, "max_p50_ratio": 0.6, "max_size_ratio": 0.7, "max_energy_ratio": 0.5}


@pytest.fixture
def report(tmp_path):
    """The report of a run whose files were measured."""
    return gather(finished_run(tmp_path)) | {"gates": []}


@pytest.fixture
def from_board(tmp_path):
    """Make the report of a run from what a board brought back, judged by some limits."""

    def make(result, **limits):
        file = tmp_path / "pi.json"
        file.write_text(json.dumps(result))
        found = gather(finished_run(tmp_path), file)
        return found | {"gates": verdicts(found, limits)}

    return make


def test_it_compares_like_with_like(report):
    assert headline.headline(report) == (
        "The compressed int8 file is 4.3 to 4.4× faster, 1.7× smaller, and loses 0.92 points of accuracy."
    )
    assert headline.behind(report) == (
        "Against original int8 on the same processor, AMD EPYC. "
        "Accuracy 0.8853 against 0.8945 of original fp32, on 872 examples of the validation split."
    )


def test_a_result_without_int8_is_compared_with_fp32(report):
    report["variants"] = [each for each in report["variants"] if each["name"] != "compressed int8"]
    sentence = headline.headline(report)
    assert sentence.startswith("The compressed fp32 file is 5.0 to 5.5× faster, 1.7× smaller, and loses 0.69 points")
    (accuracy, *_) = compare.rows(compare.pairs(report["variants"]))
    assert accuracy.cells[1] == compare.Cell("0.8979", words.NONE)


def test_files_of_other_precisions_have_pairs_of_their_own(report):
    """What is stored in four bits is compared with four bits, after all coarser comparisons."""
    for index in (1, 3):
        report["variants"].append(report["variants"][index] | {"precision": "int4"})
    pairs = compare.pairs(report["variants"])
    assert [pair.precision for pair in pairs] == ["fp32", "int8", "int4"]
    assert compare.last_pair(report["variants"]) == pairs[2]
    assert compare.reference(report["variants"]) == pairs[0].original
    assert compare.last_pair(report["variants"][:2]) == compare.Pair(None, None, None)


def test_a_slower_file_is_said_to_be_slower(report):
    for entry in report["variants"][3]["bench"]:
        entry["p50_ms"] *= 10
    assert "is 0.4× the speed of the original" in headline.headline(report)
    row = next(row for row in compare.rows(compare.pairs(report["variants"])) if row.title.startswith("p50"))
    assert row.cells[1].change == "2.3× slower"
    assert row.cells[1].is_better is False


@pytest.mark.parametrize(
    ("accuracy", "price"),
    [(0.8845, "loses 1.00 points"), (0.8945, "keeps all"), (0.8955, "gains 0.10 points"), (0.89449, "keeps all")],
)
def test_the_price_is_said_in_points(report, accuracy, price):
    report["variants"][3]["accuracy"] = accuracy
    assert headline.headline(report).endswith(f"and {price} of accuracy.")


def test_a_file_of_the_same_size_is_said_to_be(report):
    report["variants"][3]["size_bytes"] = report["variants"][1]["size_bytes"]
    assert "faster, about the same size, and loses" in headline.headline(report)


def test_facts_are_those_of_the_shape_that_gained_least(report):
    latency, size, accuracy, joules = headline.findings(report)
    before, after = P50_MS["original int8"], P50_MS["compressed int8"]
    assert before[1] / after[1] < before[0] / after[0]
    assert latency == headline.Finding("p50, 1×128", "13.1 → 3.06 ms", "4.3× faster")
    assert size == headline.Finding("file size", "22.2 → 13.1 MiB", "1.7× smaller")
    assert accuracy == headline.Finding("accuracy", "0.8945 → 0.8853", "−0.92 points")
    assert (joules.value, joules.is_unknown) == ("unavailable", True)


@pytest.mark.parametrize(
    ("limits", "said", "is_met"),
    [
        ({}, "", None),
        ({"max_p50_ratio": 0.6}, "gate met", True),
        ({"max_p50_ratio": 0.6, "max_size_ratio": 0.7}, "2 gates met", True),
        ({"max_p50_ratio": 0.1}, "p50 missed", False),
        (LIMITS | {"max_p50_ratio": 0.1}, "p50 missed, energy unknown, 2 of 4 gates met", False),
    ],
)
def test_how_the_gates_stand_is_said_in_a_few_words(report, limits, said, is_met):
    report["gates"] = verdicts(report, limits)
    assert headline.gates(report) == (said, is_met)


def test_each_fact_stands_under_its_limit(report):
    report["gates"] = verdicts(report, LIMITS)
    notes = {each.title.partition(",")[0]: (each.note, each.is_met) for each in headline.findings(report)}
    assert notes == {
        "p50": ("23.4 % of the original, limit 60 %", True),
        "file size": ("58.8 % of the original, limit 70 %", True),
        "accuracy": ("loses 0.92 points, may lose 1", True),
        "energy": ("unknown, limit 50 %: energy is unavailable, and only measured joules are judged", False),
    }


def test_a_run_that_was_not_measured_has_no_verdict(tmp_path):
    report = gather(unfinished_run(tmp_path))
    report["gates"] = verdicts(report, LIMITS)
    assert headline.headline(report) == "This run stopped after 01-project, 2 of 4 stages."
    assert (headline.gates(report), headline.findings(report)) == (("", None), [])


def test_measured_joules_go_before_estimates(from_board):
    """Three shapes were measured; the one with the least gain was only estimated."""
    result = board({(name, 1): "estimated" for name in ACCURACY})
    result["variants"][3]["bench"][1]["energy"]["net_j"] *= 2
    *_, joules = headline.findings(from_board(result))
    assert joules.title.startswith("energy measured, ")
    assert joules.note == "4.4× less"


def test_joules_of_two_kinds_make_no_fact(from_board):
    result = board({("compressed int8", index): "estimated" for index in range(4)})
    *_, joules = headline.findings(from_board(result))
    assert (joules.value, joules.is_unknown) == ("not comparable", True)


def test_joules_of_two_meters_make_no_fact(from_board):
    result = board()
    for entry in result["variants"][3]["bench"]:
        entry["energy"] |= {"meter": "rapl", "scope": "cpu package"}
    *_, joules = headline.findings(from_board(result))
    assert joules.value == "not comparable"


def test_power_that_does_not_rise_above_idle_makes_no_fact(from_board):
    result = board()
    for entry in result["variants"][3]["bench"]:
        entry["energy"] = energy("measured", -1e-4)
    *_, joules = headline.findings(from_board(result))
    assert joules.value == "not comparable"


def test_an_emulated_processor_times_nothing(from_board):
    report = from_board(emulated(), max_p50_ratio=0.6)
    assert headline.headline(report) == "The compressed int8 file is 1.7× smaller and loses 0.92 points of accuracy."
    assert "emulated, so nothing was timed; outputs differ by at most 2.5e-07" in headline.behind(report)
    assert headline.gates(report) == ("p50 unknown", False)
    assert [each.title for each in headline.findings(report)] == ["latency", "file size", "accuracy"]
    assert "on Raspberry Pi 5 (emulated), 4 cores, governor and temperature not shown" in text.summary(report)
    assert "gate unknown: p50 unknown, limit 60 %: nothing was measured" in text.summary(report)


def test_the_summary_ends_with_the_verdict(report):
    report["gates"] = verdicts(report, {"max_p50_ratio": 0.6})
    *_, gates, sentence, behind = text.summary(report).split("\n\n")
    assert gates == "gate met: p50 23.4 % of the original, limit 60 %"
    assert (sentence, behind) == (headline.headline(report), headline.behind(report))
