# ruff: noqa: RUF001 - the page writes the signs for times and minus
"""The page: whole, offline, and every number on it is that of the JSON, with the kind of its joules."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fake_run import ACCURACY, board, emulated, finished_run, write
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.bench.result import PRECISIONS, Variant
from compressor.bench.shape import Shape
from compressor.report import card, compare, figures, limits, measured, page, spread, words
from compressor.tasks import text_classification

SIZES = {"": 1.0, "m": 1e-3, "µ": 1e-6, "k": 1e3, "M": 1e6, "G": 1e9}
UNITS = ("J·s", "J", "W", "")


class Page(HTMLParser):
    """Tags that are open, every address that the page would fetch, the cells of its tables, and its charts."""

    VOID = ("meta", "br", "hr", "img", "link", "line", "polyline")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.charts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "svg":
            self.charts.append(dict(attrs)["aria-label"] or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def rows(self, title: str) -> dict[tuple[str, str], list[str]]:
        """Rows of the table whose first title this is, by shape and file."""
        (_, *rows) = next(table for table in self.tables if table[0][0] == title)
        found, shape = {}, ""
        for row in rows:
            if len(row) == 1:
                shape = re.split(" SingleStream| Offline", row[0].strip())[0]
            else:
                found[shape, row[0]] = row[1:]
        return found


def number(cell: str) -> float:
    """Read a cell back, in units of one."""
    digits, unit = f"{cell} ".replace("−", "-").replace(",", "").split(" ", 1)
    unit = unit.strip()
    return float(digits) * SIZES[unit.removesuffix(next(each for each in UNITS if unit.endswith(each)))]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return finished_run(tmp_path)


def from_board(run: Path, result: dict[str, Any]) -> str:
    """Page of a run with what another machine measured."""
    write(run.parent / "pi.json", result)
    page.write(run, run.parent / "pi.json")
    return (run / "report/pi/index.html").read_text()


@pytest.mark.parametrize("result", [None, board(), emulated()])
def test_it_is_whole_and_fetches_nothing(run, result):
    page.write(run)
    text = from_board(run, result) if result else (run / "report/index.html").read_text()
    parsed = Page(text)
    assert parsed.open == []
    assert parsed.fetched == []
    assert [word for word in ("url(", "@import", "<script", "http") if word in text] == []


def test_every_number_of_the_tables_is_that_of_the_json(run):
    result = board()
    for index, variant in enumerate(result["variants"]):
        for entry in variant["bench"]:
            entry["n_instructions"] = 12_345_678 * (index + 1)
    parsed = Page(from_board(run, result))
    times, joules = parsed.rows("ms of one inference"), parsed.rows("one inference")
    assert len(times) == len(joules) == 16
    for variant in result["variants"]:
        for entry in variant["bench"]:
            at = words.shape(Shape.of(entry)), variant["name"]
            keys = ("p50_ms", "p90_ms", "p99_ms", "mean_ms", "cpu_ms", "throughput_per_s", "n_instructions", "n_runs")
            assert [number(cell) for cell in times[at]] == pytest.approx([entry[key] for key in keys], rel=0.006)
            kind, net, bounds, *others = joules[at]
            low, high = bounds.split(" to ")
            shown = [number(cell) for cell in (net, f"{low} {high.split()[1]}", high, *others)]
            energy_keys = ("net_j", "low", "high", "gross_j", "mean_w", "inferences_per_s", "edp_js")
            assert shown == pytest.approx([entry["energy"][key] for key in energy_keys], rel=0.006)
            assert kind == "measured"


def test_before_and_after_is_that_of_the_json(run):
    result = board()
    rows = {row[0]: row[1:] for row in Page(from_board(run, result)).tables[0]}
    original, small = (result["variants"][index] for index in (1, 3))
    for title, key, unit in (("load time", "load_ms", "ms"), ("peak memory", "peak_memory_bytes", "MiB")):
        scale = 2**20 if unit == "MiB" else 1
        shown = [float(cell.removesuffix(f" {unit}")) * scale for cell in rows[title][3:5]]
        assert shown == pytest.approx([original[key], small[key]], rel=0.006)
    before, after = (variant["bench"][2] for variant in (original, small))
    assert [number(cell) for cell in rows["FLOPs, 8×32"][3:5]] == pytest.approx([before["n_flops"]] * 2, rel=0.006)
    joules = [number(cell) for cell in rows["energy measured, 8×32"][3:5]]
    assert joules == pytest.approx([before["energy"]["net_j"], after["energy"]["net_j"]], rel=0.006)


def test_the_figure_of_a_scenario_stands_out(run):
    text = from_board(run, board())
    bold = re.findall(r'<td class="figure">([^<]*)</td>', text[text.index("<h2>Latency") : text.index("<h2>Energy")])
    figures = {"SingleStream": "p90_ms", "Offline": "throughput_per_s"}
    variants = board()["variants"]
    entries = [variant["bench"][index] for index in range(4) for variant in variants]
    assert [number(cell) for cell in bold] == pytest.approx([e[figures[e["scenario"]]] for e in entries], rel=0.006)


def test_every_precision_has_a_colour():
    css = (Path(page.__file__).parent / "page.css").read_text()
    assert all(f".{precision} {{ --own:" in css for precision in (*PRECISIONS, figures.style_of(None)))


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(list(ACCURACY)), st.integers(0, 3)),
        st.sampled_from(["measured", "estimated", "unavailable"]),
    )
)
@settings(max_examples=40, deadline=None)
def test_kinds_of_joules_share_neither_a_chart_nor_a_ratio(kinds):
    facts: list[Any] = [
        {"precision": name.split()[1], "kind": "original" if "original" in name else "result"} for name in ACCURACY
    ]
    variants = measured.completed(board(kinds))["variants"]
    variants = [each | of_run for each, of_run in zip(variants, facts, strict=True)]
    shapes = [words.shape(shape) for shape in compare.shapes(variants)]

    drawn = set()
    for chart in (Page(drawing).charts[0] for drawing in spread.energy(variants)):
        shape, title, rows = chart.split(": ")
        (kind,) = set(re.findall("measured|estimated", title))
        drawn |= {(shape, row.rpartition(" ")[0], kind) for row in rows.split(", ")}
    known = {(shape, name, kinds.get((name, i), "measured")) for i, shape in enumerate(shapes) for name in ACCURACY}
    assert drawn == {each for each in known if each[2] != "unavailable"}

    for row in compare.rows(compare.pairs(variants)):
        shape = row.title.partition(", ")[2]
        if row.title.startswith("energy") and shape:
            for cell, width in zip(row.cells, ("fp32", "int8"), strict=True):
                both = {kind for at, name, kind in known if at == shape and name.endswith(width)}
                assert bool(cell.change) == (len(both) == 1 and both != {"unavailable"})
                assert {"measured", "estimated"} & both <= set(
                    re.findall(r"\w+", f"{row.title} {cell.before} {cell.after}")
                )


def test_warnings_and_reasons_are_spelled_out(run):
    result = board({("original int8", 1): "unavailable"})
    result["variants"][0]["bench"][0]["energy"]["warnings"] = ["the <power> was not steady"]
    text = from_board(run, result)
    assert 'warning: the &lt;power&gt; was not steady <span class="soft">· original fp32 at 1×32</span>' in text
    assert 'unavailable: no meter <span class="soft">· original int8 at 1×128</span>' in text


def test_a_card_spells_them_out_too(run):
    result = board({("original int8", 1): "unavailable"})
    result["variants"][0]["bench"][0]["energy"]["warnings"] = ["the power was not steady"]
    write(run.parent / "pi.json", result)
    card.write_card(run / "03-quantize", page.write(run, run.parent / "pi.json"), "onnx", text_classification)
    text = (run / "03-quantize/README.md").read_text()
    assert "Warning (original fp32 at 1×32): the power was not steady." in text
    assert "Energy unavailable (original int8 at 1×128): no meter." in text
    assert "Energy measured, pmic: board" in text
    joules = 1e3 * result["variants"][3]["bench"][2]["energy"]["net_j"]
    assert re.search(rf"\| 8×32, Offline \| compressed int8 \|.*\| {joules:.0f} mJ measured \|", text)


def test_a_board_gets_a_page_of_its_own(run):
    ours = page.write(run)
    before = {file.name: file.read_bytes() for file in (run / "report").iterdir()}
    write(run.parent / "pi.json", board())
    theirs = page.write(run, run.parent / "pi.json")
    assert {name: (run / "report" / name).read_bytes() for name in before} == before
    assert json.loads((run / "report/pi/report.json").read_text()) == theirs
    assert theirs["variants"] != ours["variants"]
    assert theirs["gates"] == limits.judge(theirs)
    text = (run / "report/pi/index.html").read_text()
    assert "Raspberry Pi 5 · measured elsewhere, pi.json" in text
    assert "Raspberry Pi 5, 4 cores, governor ondemand, 61 °C" in text
    assert "AMD EPYC" not in text


def test_it_says_whether_the_processor_is_emulated(run):
    text = from_board(run, emulated())
    assert "<dt>emulated</dt><dd>yes: nothing is timed</dd>" in text
    assert "<dt>compressed int8</dt><dd>2.5e-07</dd>" in text
    assert "<h2>Latency</h2>" not in text
    assert "<dt>emulated</dt><dd>no</dd>" in from_board(run, board())


def test_a_result_of_the_first_version_is_shown_whole(run):
    page.write(run)
    parsed = Page((run / "report/index.html").read_text())
    row = parsed.rows("ms of one inference")["1×32", "compressed int8"]
    assert row == ["0.880", "0.933", "1.06", "0.898", "–", "1,114", "1.00 k"]
    assert len([chart for chart in parsed.charts if "SingleStream" in chart]) == 2
    assert [chart for chart in parsed.charts if "J/inference" in chart] == []


class TestCharts:
    def whiskers(self, chart: str, style: str) -> list[tuple[float, float]]:
        """Both ends of the horizontal lines of a style."""
        found = re.findall(rf'class="{style} [^"]*" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"', chart)
        return [(float(x1), float(x2)) for x1, y1, x2, y2 in found if y1 == y2]

    def dots(self, chart: str) -> list[float]:
        return [float(x) for x in re.findall(r'class="point [^"]*" cx="([\d.]+)"', chart)]

    def variants(self, **energy: Any) -> list[Variant]:
        found = measured.completed(board())["variants"]
        for each in found:
            each |= {"precision": "fp32", "kind": "original"}
            for entry in each["bench"]:
                entry["energy"] |= energy
        return found

    def test_latency_is_drawn_to_a_logarithmic_scale(self):
        """The ratio of two times is a distance: p90 / p50 = 1.13 and p99 / p50 = 1.57 for every file."""
        variants = self.variants()
        chart = spread.latency(variants)[0]
        dots, near, far = self.dots(chart), self.whiskers(chart, "near"), self.whiskers(chart, "far")
        p50 = [each["bench"][0]["p50_ms"] for each in variants]
        per_decade = (dots[0] - dots[3]) / math.log10(p50[0] / p50[3])
        assert per_decade > 0
        for index in range(4):
            assert near[index] == pytest.approx((dots[index], dots[index] + per_decade * math.log10(1.13)), abs=0.2)
            assert far[index] == pytest.approx((dots[index], dots[index] + per_decade * math.log10(1.57)), abs=0.2)
            assert dots[0] - dots[index] == pytest.approx(per_decade * math.log10(p50[0] / p50[index]), abs=0.2)

    def test_joules_start_at_zero(self):
        """Twice the joules are twice as far from zero, and the interval of 7 % lies around the dot."""
        variants = self.variants()
        chart = spread.energy(variants)[0]
        dots, far = self.dots(chart), self.whiskers(chart, "far")
        net_j = [each["bench"][0]["energy"]["net_j"] for each in variants]
        zero = (dots[0] * net_j[3] - dots[3] * net_j[0]) / (net_j[3] - net_j[0])
        assert zero == pytest.approx(spread.LEFT, abs=0.2)
        for dot, ends in zip(dots, far, strict=True):
            assert ends == pytest.approx((zero + 0.93 * (dot - zero), zero + 1.07 * (dot - zero)), abs=0.2)

    def test_what_was_not_measured_is_dashed(self):
        assert "guess" not in "".join(spread.energy(self.variants()))
        assert all("guess" in chart for chart in spread.energy(self.variants(kind="estimated")))

    @pytest.mark.parametrize("joules", [(0.0, 0.0, 0.0), (-2e-3, -3e-3, -1e-3), (1e-9, None, None)])
    def test_odd_joules_are_drawn_within_the_chart(self, joules):
        net_j, low, high = joules
        for chart in spread.energy(self.variants(net_j=net_j, low=low, high=high)):
            assert all(spread.LEFT <= x <= spread.WIDTH - spread.RIGHT for x in self.dots(chart))

    def test_nothing_measured_is_nothing_drawn(self):
        variants = [each | {"bench": []} for each in self.variants()]
        assert (spread.latency(variants), spread.energy(variants)) == ([], [])
