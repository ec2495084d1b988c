"""How the checks of `compress gate` are shown: on a terminal, in CI's test report and job summary, as annotations."""

import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from compressor.bench.gate_result import Names
from compressor.report import text, words
from compressor.report.gate_result import Amount, Check, Comparison, SelfTest, Spread

HEADER = ("check", "new", "baseline", "change", "margin", "verdict")
UNUSUAL = re.compile(r"[^\w.:]")  # what a file may call an operation, and a table or a log may take for its own
NONE: Names = {"new": [], "baseline": []}
CURES = "give a longer --budget or a wider --margin, or free the machine"


def table(result: Comparison) -> str:
    """Show every check in a line, and the verdict."""
    rows = text.aligned([HEADER, *(_row(check) for check in result["checks"])], numbers=True)
    return f"{rows}\n\nverdict: {result['verdict']}"


def self_test(result: SelfTest) -> str:
    """Show what the gate made of a file against itself."""
    header = ("shape", "median", "interval", "half-width", "without zero")
    n_runs = result["n_runs"]
    rows = [_spread(spread, n_runs) for spread in result["shapes"]]
    return "\n\n".join(
        [
            f"{result['new']} against itself, {n_runs} runs of {result['budget_s']:g} s, "
            f"margin {_percent(result['margin'])}",
            text.aligned([header, *rows], numbers=True),
            f"false alarms: {_false_alarms(result)}\n"
            f"inconclusive: {result['n_inconclusive']} of {n_runs}\nverdict: {result['verdict']}",
        ]
    )


def _false_alarms(result: SelfTest) -> str:
    """Give the count, the rate, and what ten runs can tell of the true rate."""
    low, high = map(words.percent, result["false_alarm_interval"])
    rate = words.percent(result["false_alarm_rate"])
    return f"{result['n_false_alarms']} of {result['n_runs']} ({rate}, 95 % interval {low} to {high})"


def _spread(spread: Spread, n_runs: int) -> tuple[str, ...]:
    return (
        spread["shape"],
        _change(spread["ratio"]),
        _interval(spread["low"], spread["high"]),
        f"{100 * spread['half_width']:.2f} %",
        f"{spread['n_without_zero']} of {n_runs}",
    )


def failed_self_test(result: SelfTest) -> list[str]:
    """Say why a self-test does not exit with zero; nothing if it does."""
    counts = f"{result['n_false_alarms']} are false alarms and {result['n_inconclusive']} inconclusive"
    what = f"{result['new']}: of {result['n_runs']} runs against itself {counts}; {CURES}"
    return [what] if result["verdict"] == "inconclusive" else []


def misses(result: Comparison) -> list[str]:
    """Say why a comparison does not exit with zero, one line for each reason; nothing if it does."""
    return [f"{result['new']}: {_sentence(check)}" for check in result["checks"] if _is_miss(check, result)]


def junit(result: Comparison) -> str:
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


def markdown(result: Comparison) -> str:
    """Write the table for a job summary."""
    lines = [f"### compress gate: {result['verdict']}", "", f"`{result['new']}` against `{result['baseline']}`", ""]
    rows = [HEADER, ["---", *["---:"] * (len(HEADER) - 1)], *(_row(check) for check in result["checks"])]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n\n"


def annotations(result: Comparison) -> Iterator[str]:
    """Write the commands that make GitHub show checks beside the code."""
    for check in result["checks"]:
        if check["verdict"] in ("regression", "inconclusive"):
            level = "error" if _is_miss(check, result) else "warning"
            yield f"::{level} file={_escaped(result['new'], ':,')},title=compress gate::{_escaped(_sentence(check))}"


def _is_miss(check: Check, result: Comparison) -> bool:
    """Tell whether a check decides against the file; one that a regression elsewhere left undecided does not."""
    counts = ("regression", "inconclusive") if result["inconclusive"] == "fail" else ("regression",)
    return check["verdict"] == result["verdict"] and check["verdict"] in counts


def _row(check: Check) -> list[str]:
    amounts = (_amount(check["name"], amount) for amount in (check["new"], check["baseline"]))
    verdict = words.NONE if check["verdict"] == "info" else check["verdict"]
    change = f"{check['difference']} new" if check["name"] == "operations" else _compared(check)  # their list is long
    return [_title(check), *amounts, change, _limit(check), verdict]


def _title(check: Check) -> str:
    return f"{check['name']} {check['shape']}" if check["shape"] else check["name"]


def _amount(name: str, value: Amount) -> str:
    if value is None:
        return words.NONE
    if isinstance(value, dict):
        return f"{sum(value.values()):,}"
    if name == "latency":
        return words.ms(value)
    if name in ("bytes", "memory"):
        return words.mib(value)
    if name in ("flops", "instructions"):
        return words.count(value)
    if name == "accuracy":
        return words.accuracy(value)
    return f"{value:,}"


def _sentence(check: Check) -> str:
    """Say where a check stands; a person who reads nothing else should know what to do."""
    what = f"{_title(check)}: {_compared(check)}, margin {_limit(check)}"
    if check["verdict"] == "inconclusive":
        return f"{what}, undecided; {CURES}"
    return f"{what}{_way_out(check)}"


def _way_out(check: Check) -> str:
    """Name the options for outputs that are broken on purpose."""
    is_infinite = any(check.get("nonfinite", NONE).values())
    if "n_nonfinite" in check and (check["margin"] is None or check["difference"] is not None):
        is_infinite = any(check["n_nonfinite"].values())
    flags = ["--allow-other-outputs"] * bool(check.get("other")) + ["--allow-nonfinite"] * is_infinite
    return f"; {' and '.join(flags)} where it is meant" if flags else ""


def _compared(check: Check) -> str:
    """Write what the margin is compared with."""
    if check["name"] == "outputs":
        return _outputs(check)
    if check["name"] == "operations":
        return ", ".join([f"{check['difference']} new", *_changed(check["new"], check["baseline"])])
    if check["name"] == "accuracy":
        return _lost(check)
    if check["ratio"] is None or check["low"] is None or check["high"] is None:
        return "unknown"
    if check["name"] == "latency":
        return f"{_change(check['ratio'])} ({_interval(check['low'], check['high'])})"
    return f"{words.MINUS if check['ratio'] < 0 else '+'}{words.digits(abs(100 * check['ratio']))} %"


def _outputs(check: Check) -> str:
    """Say how outputs differ, and first what keeps them from being compared."""
    nonfinite = check.get("nonfinite", NONE)
    said = [f"{_named(check['other'])} in one file only, or of another type or shape"] if check.get("other") else []
    for role, names in (("new file", nonfinite["new"]), ("baseline", nonfinite["baseline"])):
        said += [f"NaN or infinite in {_named(names)} of the {role}"] if names else []
    if check["difference"] is None:
        return f"not comparable: {', '.join(said)}" if said else "not comparable"
    return ", ".join([f"differ by {check['difference']:.2g}", *said])


def _lost(check: Check) -> str:
    """Say how much accuracy was lost, and how many scores are not finite."""
    counts = check.get("n_nonfinite", {"new": 0, "baseline": 0})
    lost = "unknown" if check["difference"] is None else words.points(check["difference"], 0.0)
    said = [f"{counts['new']} new and {counts['baseline']} old answers NaN or infinite"] if any(counts.values()) else []
    return ", ".join([lost, *said])


def _named(names: Sequence[str]) -> str:
    return ", ".join(UNUSUAL.sub("?", name) for name in names)


def _changed(new: Amount, baseline: Amount) -> Iterator[str]:
    """Yield the operations that one file has more often than the other."""
    if not isinstance(new, dict) or not isinstance(baseline, dict):
        return
    for name in sorted(new.keys() | baseline.keys()):
        before, after = baseline.get(name, 0), new.get(name, 0)
        if before != after:
            yield f"{UNUSUAL.sub('?', name)} {before} to {after}"


def _limit(check: Check) -> str:
    margin = check["margin"]
    if margin is None:
        return words.NONE
    if check["name"] == "accuracy":
        return f"{100 * margin:.2f} points"
    return f"{margin:g}" if check["name"] in ("outputs", "operations") else _percent(margin)


def _interval(low: float, high: float) -> str:
    return f"{_change(low)} to {_change(high)}"


def _change(fraction: float) -> str:
    return f"{100 * fraction:+.1f} %".replace("-", words.MINUS)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def _escaped(message: str, more: str = "") -> str:
    """Escape what GitHub's commands give a meaning to."""
    for character in "%\r\n" + more:
        message = message.replace(character, f"%{ord(character):02X}")
    return message
