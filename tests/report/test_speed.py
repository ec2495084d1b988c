# ruff: noqa: RUF001 - the page writes the signs for times and minus
"""By what times files are compared: identical ones read as identical, and shared cores as shared cores."""

import copy
import json

import numpy as np
import pytest
from fake_run import board, finished_run

from compressor.report import card, compare, figures, headline, page, speed, spread, text, words
from compressor.report.gather import gather
from compressor.report.limits import verdicts

LOADED = 3.8  # wall over processor time of long inferences on a loaded machine; short ones fit between its switches


def entry(p50_ms, cpu_ms=None, spread_=0.0, threads=1, seed=0):
    """One measurement, and twenty blocks around it."""
    cpu_ms = p50_ms if cpu_ms is None else cpu_ms
    noise = 1 + spread_ * np.random.default_rng(seed).standard_normal(20)
    blocks = {"block_p50_ms": [*(p50_ms * noise)], "block_cpu_ms": [*(cpu_ms * noise)]}
    return {"p50_ms": p50_ms, "mean_ms": p50_ms, "cpu_ms": cpu_ms, "threads": threads, **blocks}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (entry(10), entry(5), "2.0× faster"),
        (entry(5), entry(10), "2.0× slower"),
        (entry(10), entry(9.6), words.SAME),
        (entry(10, spread_=0.3, seed=1), entry(9, spread_=0.3, seed=2), words.SAME),
        (entry(10, spread_=0.05, seed=1), entry(8, spread_=0.05, seed=2), "1.2× faster"),
        (entry(10, cpu_ms=9.0), entry(9, cpu_ms=9.1), words.SAME),  # compress gate would call it slower
        (entry(10, cpu_ms=38, threads=4), entry(5, cpu_ms=39, threads=4), "2.0× faster"),
    ],
)
def test_a_difference_within_its_own_spread_is_none(before, after, expected):
    assert speed.WALL.change(before, after) == expected
    assert (speed.WALL.factor(before, after) == 1) == (expected == words.SAME)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((473.0, [260.0, 480.0]), (272.0, [255.0, 470.0]), words.SAME),
        ((473.0, [465.0, 480.0]), (272.0, [270.0, 280.0]), "1.7× faster"),
        ((473.0, None), (272.0, None), "1.7× faster"),
        ((None, None), (272.0, None), ""),
    ],
)
def test_load_times_that_overlap_are_the_same(before, after, expected):
    ends = [{"load_ms": load_ms, "load_range_ms": range_} for load_ms, range_ in (before, after)]
    assert speed.load_change(*ends) == expected


@pytest.fixture
def loaded(tmp_path):
    """Make the report of a machine with busy cores: int8 is 4.35 times faster, and by its p50 18 times."""

    def make(**limits):
        result = board()
        for variant in result["variants"]:
            for each in variant["bench"]:
                is_long = variant["name"].startswith("original")
                each["cpu_ms"] = 43.5 if is_long else 10.0
                each["p50_ms"] = LOADED * 43.5 if is_long else 0.9 * 10.0
                each["p90_ms"] = each["p99_ms"] = 4.5 * each["cpu_ms"]
                each["mean_ms"] = 4.2 * each["cpu_ms"]
        file = tmp_path / "pi.json"
        file.write_text(json.dumps(result))
        found = gather(finished_run(tmp_path), file)
        return found | {"gates": verdicts(found, limits)}

    return make


def test_on_shared_cores_every_ratio_is_that_of_processor_time(loaded):
    report = loaded()
    sentence = headline.headline(report)
    assert sentence.startswith(speed.NOTE)
    assert "The compressed int8 file is 4.3× faster" in sentence or "4.4× faster" in sentence
    assert "18" not in sentence
    table = text.summary(report)
    assert table.startswith(speed.NOTE)
    assert "18.4× faster" not in table
    assert "165 ms *" in table
    rows = {row.title: row for row in compare.rows(compare.pairs(report["variants"]))}
    assert [cell.change for cell in rows["p50, 1×32"].cells] == ["", ""]
    assert {cell.change for cell in rows["processor time, 1×32"].cells} <= {"4.3× faster", "4.4× faster"}
    titles = [finding.title for finding in headline.findings(report)]
    assert titles[0].startswith("processor time, ")


def test_on_shared_cores_plots_card_and_page_show_processor_time(loaded, tmp_path):
    report = loaded()
    for drawn in (*figures.accuracy_against_latency(report["variants"]), *spread.latency(report["variants"])):
        assert "processor time" in drawn
        assert "p50" not in drawn
    page_ = page.render(report, "")
    assert page_.count(speed.NOTE.replace("'", "&#39;")) >= 3
    (tmp_path / "02-export").mkdir(exist_ok=True)

    class Usage:
        OPTIMUM = ""

        def snippet(self, file):
            return "run"

    card.write_card(tmp_path / "02-export", report, "onnx", Usage())
    written = (tmp_path / "02-export/README.md").read_text()
    assert speed.NOTE.replace("*", r"\*") in written
    assert r"165 ms \* |" in written


@pytest.mark.parametrize(("limit", "is_met"), [(0.1, False), (0.25, True)])
def test_on_shared_cores_a_gate_on_p50_is_judged_by_processor_time(loaded, limit, is_met):
    [verdict] = loaded(max_p50_ratio=limit)["gates"]
    assert verdict["value"] == pytest.approx(10 / 43.5)
    assert verdict["met"] is is_met
    assert verdict["note"].endswith("by processor time: the cores were shared")


def test_results_of_earlier_versions_are_judged_by_their_own_numbers(loaded):
    """They do not say whether cores were shared, but have both times; the first have p50 alone."""
    report = loaded()
    assert {each["is_shared"] for variant in report["variants"] for each in variant["bench"]} == {True, None}
    variants = copy.deepcopy(report["variants"])
    for variant in variants:
        for each in variant["bench"]:
            each |= {"mean_ms": None, "cpu_ms": None}
    assert speed.clock(variants).is_wall
    assert speed.note(variants) == ""


def test_the_table_of_the_bench_has_no_ratio_of_wall_times_then(loaded, tmp_path):
    loaded()
    shown = text.bench(json.loads((tmp_path / "pi.json").read_text()))
    assert shown.startswith(speed.NOTE)
    ratios = [line.split() for line in shown.splitlines() if "ratio to the first" in line]
    assert "0.230" in ratios[1]
    assert not any(cell in line for line in ratios for cell in ("0.0544", "0.0545", "18.4"))


def test_a_run_that_only_trains_reads_as_the_same_speed(loaded):
    """Two files of one graph, on a machine whose times scatter."""
    report = loaded()
    for variant in report["variants"]:
        variant["load_range_ms"] = [200.0, 500.0]
        seed = len(variant["name"])
        variant["bench"] = [each | entry(10 + seed % 2, spread_=0.2, seed=seed) for each in variant["bench"]]
    report["variants"] = copy.deepcopy(report["variants"])
    assert f"{words.SAME} speed" in headline.headline(report)
    rows = {row.title: row for row in compare.rows(compare.pairs(report["variants"]))}
    assert {cell.change for cell in rows["load time"].cells} == {words.SAME}
    assert {cell.change for cell in rows["p50, 1×32"].cells} == {words.SAME}
