"""How the checks of `compress gate` are shown: on a terminal, in CI's test report and job summary, as annotations."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

from compressor.report import text, words

Facts = Mapping[str, Any]
HEADER = ("check", "new", "baseline", "change", "margin", "verdict")
UNUSUAL = re.compile(r"[^\w.:]")  # what a file may call an operation, and a table or a log may take for its own
CURES = "give a longer --budget or a wider --margin, or free the machine"


def table(result: Facts) -> str:
    """Show every check in a line, and the verdict."""
    rows = text.aligned([HEADER, *(_row(check) for check in result["checks"])], numbers=True)
    return f"{rows}\n\nverdict: {result['verdict']}"


def self_test(result: Facts) -> str:
    """Show what the gate made of a file against itself."""
    header = ("shape", "median", "interval", "half-width", "without zero")
    n_runs = result["n_runs"]
    rows = [
        (each["shape"], _change(each["ratio"]), _interval(each), f"{100 * each['half_width']:.2f} %",
         f"{each['n_without_zero']} of {n_runs}")
        for each in result["shapes"]
    ]  # fmt: skip
    return "\n\n".join(
        [
            f"{result['new']} against itself, {n_runs} runs of {result['budget_s']:g} s, "
            f"margin {_percent(result['margin'])}",
            text.aligned([header, *rows], numbers=True),
            f"false alarms: {result['n_false_alarms']} of {n_runs} ({words.percent(result['false_alarm_rate'])})\n"
            f"inconclusive: {result['n_inconclusive']} of {n_runs}\nverdict: {result['verdict']}",
        ]
    )


def misses(result: Facts) -> list[str]:
    """Say what stands in the way of an exit code of zero, one line each."""
    if "n_runs" in result:
        counts = f"{result['n_false_alarms']} are false alarms and {result['n_inconclusive']} inconclusive"
        what = f"{result['new']}: of {result['n_runs']} runs against itself {counts}; {CURES}"
        return [what] if result["verdict"] == "inconclusive" else []
    return [f"{result['new']}: {_sentence(check)}" for check in result["checks"] if _is_miss(check, result)]


def junit(result: Facts) -> str:
    """Write what is gated as test cases, in the XML that CI servers read."""
    gated = [check for check in result["checks"] if check["verdict"] != "info"]
    suite = ElementTree.Element("testsuite", name="compress gate", tests=str(len(gated)))
    for check in gated:
        case = ElementTree.SubElement(suite, "testcase", classname=result["new"], name=_title(check))
        if _is_miss(check, result):
            ElementTree.SubElement(case, "failure", type=check["verdict"], message=_sentence(check))
        elif check["verdict"] == "inconclusive":
            ElementTree.SubElement(case, "skipped", message=_sentence(check))
    suite.set("failures", str(len(suite.findall(".//failure"))))
    suite.set("skipped", str(len(suite.findall(".//skipped"))))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def markdown(result: Facts) -> str:
    """Write the table for a job summary."""
    lines = [f"### compress gate: {result['verdict']}", "", f"`{result['new']}` against `{result['baseline']}`", ""]
    rows = [HEADER, ["---", *["---:"] * (len(HEADER) - 1)], *(_row(check) for check in result["checks"])]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n\n"


def annotations(result: Facts) -> Iterator[str]:
    """Write the commands that make GitHub show checks beside the code."""
    for check in result["checks"]:
        if check["verdict"] in ("regression", "inconclusive"):
            level = "error" if _is_miss(check, result) else "warning"
            yield f"::{level} file={_escaped(result['new'], ':,')},title=compress gate::{_escaped(_sentence(check))}"


def _is_miss(check: Facts, result: Facts) -> bool:
    """Tell whether a check decides against the file; one that a regression elsewhere left undecided does not."""
    counts = ("regression", "inconclusive") if result["inconclusive"] == "fail" else ("regression",)
    return check["verdict"] == result["verdict"] and check["verdict"] in counts


def _row(check: Facts) -> list[str]:
    amounts = (_amount(check["name"], check[role]) for role in ("new", "baseline"))
    margin = words.NONE if check["margin"] is None else _limit(check)
    verdict = words.NONE if check["verdict"] == "info" else check["verdict"]
    found = f"{check['difference']} new" if check["name"] == "operations" else _found(check)  # their list is long
    return [_title(check), *amounts, found, margin, verdict]


def _title(check: Facts) -> str:
    return f"{check['name']} {check['shape']}" if check["shape"] else check["name"]


def _amount(name: str, value: Any) -> str:
    if value is None:
        return words.NONE
    if name == "latency":
        return words.ms(value)
    if name in ("bytes", "memory"):
        return words.mib(value)
    if name in ("flops", "instructions"):
        return words.count(value)
    if name == "accuracy":
        return words.accuracy(value)
    return f"{sum(value.values()):,}" if name == "operations" else f"{value:,}"


def _sentence(check: Facts) -> str:
    """Say where a check stands; a person who reads nothing else should know what to do."""
    what = f"{_title(check)}: {_found(check)}, margin {_limit(check)}"
    return f"{what}, undecided; {CURES}" if check["verdict"] == "inconclusive" else what


def _found(check: Facts) -> str:
    """Write what the margin is compared with."""
    if check["name"] == "outputs":
        return "not comparable" if check["difference"] is None else f"differ by {check['difference']:.2g}"
    if check["name"] == "operations":
        return ", ".join([f"{check['difference']} new", *_changed(check["new"], check["baseline"])])
    if check["name"] == "accuracy":
        return words.points(check["baseline"], check["new"])
    if check["ratio"] is None:
        return "unknown"
    if check["name"] == "latency":
        return f"{_change(check['ratio'])} ({_interval(check)})"
    return f"{words.MINUS if check['ratio'] < 0 else '+'}{words.digits(abs(100 * check['ratio']))} %"


def _changed(new: Mapping[str, int], baseline: Mapping[str, int]) -> Iterator[str]:
    for name in sorted(new.keys() | baseline.keys()):
        before, after = baseline.get(name, 0), new.get(name, 0)
        if before != after:
            yield f"{UNUSUAL.sub('?', name)} {before} to {after}"


def _limit(check: Facts) -> str:
    if check["name"] == "accuracy":
        return f"{100 * check['margin']:.2f} points"
    return f"{check['margin']:g}" if check["name"] in ("outputs", "operations") else _percent(check["margin"])


def _interval(found: Facts) -> str:
    return f"{_change(found['low'])} to {_change(found['high'])}"


def _change(fraction: float) -> str:
    return f"{100 * fraction:+.1f} %".replace("-", words.MINUS)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def _escaped(message: str, more: str = "") -> str:
    """Escape what GitHub's commands give a meaning to."""
    for character in "%\r\n" + more:
        message = message.replace(character, f"%{ord(character):02X}")
    return message
