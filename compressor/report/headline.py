"""What a run came to, for a reader with five seconds: one sentence, and four facts with their limits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from compressor.report import compare, joules, words

Facts = Mapping[str, Any]
NOT_COMPARABLE = "not comparable"
UNKNOWN = (words.NONE, words.UNAVAILABLE, NOT_COMPARABLE)


@dataclass(frozen=True)
class Ends:
    """Files that a verdict compares."""

    reference: Facts
    """Original whose accuracy counts, the fp32 file."""
    original: Facts
    result: Facts
    """Last file, and the original of its kind."""


@dataclass(frozen=True)
class Finding:
    """One fact of the last file against the original."""

    title: str
    value: str
    note: str
    is_met: bool | None = None
    """How it stands under the gate of the recipe; None if there is no gate."""

    @property
    def is_unknown(self) -> bool:
        """Whether there is no number."""
        return self.value in UNKNOWN


def headline(report: Facts) -> str:
    """Sum up a report in one sentence."""
    ends = _ends(report)
    if ends is None:
        return _unmeasured(report)
    price = words.lost(ends.reference["accuracy"] - ends.result["accuracy"])
    size = words.times(ends.original["size_bytes"], ends.result["size_bytes"], "smaller", "larger")
    size = size.replace(words.SAME, f"{words.SAME} size")
    speed = _speed(ends)
    return f"The {ends.result['name']} file is {f'{speed}, {size},' if speed else size} and {price} of accuracy."


def behind(report: Facts) -> str:
    """Say what stands behind the headline."""
    ends = _ends(report)
    if ends is None:
        return "What is known is shown below."
    reference, result = ends.reference, ends.result
    return (
        f"Against {ends.original['name']} on the same processor, {report['environment']['cpu']['model']}. Accuracy "
        f"{words.accuracy(result['accuracy'])} against {words.accuracy(reference['accuracy'])} of {reference['name']}, "
        f"on {result['n_examples']:,} examples of the {result['split']} split.{_emulated(report)}"
    )


def gates(report: Facts) -> tuple[str, bool | None]:
    """Say how all gates together stand; nothing where none is set or nothing was measured yet."""
    found = report["gates"] if report["is_measured"] else ()
    if not found:
        return "", None
    states = [(words.GATES[gate["name"]], words.state(gate)) for gate in found]
    doubtful = [f"{name} {state}" for name, state in states if state != "met"]
    if not doubtful:
        return "gate met" if len(states) == 1 else f"{len(states)} gates met", True
    met = [f"{len(states) - len(doubtful)} of {len(states)} gates met"] if len(states) > 1 else []
    return ", ".join([*doubtful, *met]), False


def findings(report: Facts) -> list[Finding]:
    """List what the headline rests on, each with its gate; without files to compare, nothing."""
    ends = _ends(report)
    if ends is None:
        return []
    limits = {gate["name"]: gate for gate in report["gates"]}
    tell: dict[str, Callable[[Ends], tuple[str, str, str]]] = {
        "max_p50_ratio": _latency,
        "max_size_ratio": _size,
        "max_accuracy_drop": _accuracy,
        "max_energy_ratio": _energy,
    }
    found = []
    for name, about in tell.items():
        title, value, note = about(ends)
        gate = limits.get(name)
        if not gate and value in UNKNOWN and not _shapes(ends):
            continue
        found.append(Finding(title, value, words.standing(gate), gate["met"]) if gate else Finding(title, value, note))
    return found


def _ends(report: Facts) -> Ends | None:
    pairs = compare.pairs(report["variants"])
    last = next(((each.original, each.result) for each in reversed(pairs) if each.original and each.result), None)
    reference = next((pair.original for pair in pairs if pair.original), None)
    return Ends(reference, *last) if report["is_measured"] and last and reference else None


def _unmeasured(report: Facts) -> str:
    n_done, n_all = len(report["stages"]), len(report["recipe"]["stages"])
    if n_done == 0:
        return "This run has not finished a stage yet."
    if n_done < n_all:
        return f"This run stopped after {report['stages'][-1]['folder']}, {n_done} of {n_all} stages."
    if not any(variant["kind"] == "result" for variant in report["variants"]):
        return "All stages are done; none of them exports a file that could be measured."
    return "All stages are done; nothing has been measured yet."


def _emulated(report: Facts) -> str:
    """Say what an emulated processor was good for: it computes the same, in a time that means nothing."""
    if not report["environment"]["measured"]["is_emulated"]:
        return ""
    known = [each["output_difference"] for each in report["variants"] if each["output_difference"] is not None]
    outputs = f"; outputs differ by at most {max(known):.2g} from what they should be" if known else ""
    return f" The processor is emulated, so nothing was timed{outputs}."


def _speed(ends: Ends) -> str:
    """Say how much faster: one factor, or the range over the measured shapes."""
    factors = sorted(before["p50_ms"] / after["p50_ms"] for _, before, after in _shapes(ends))
    if not factors:
        return ""
    least, most = (f"{factor:.1f}" for factor in (factors[0], factors[-1]))
    range_ = least if least == most else f"{least} to {most}"
    return f"{range_}{words.TIMES} faster" if factors[0] >= 1 else f"{range_}{words.TIMES} the speed of the original"


def _accuracy(ends: Ends) -> tuple[str, str, str]:
    before, after = ends.reference["accuracy"], ends.result["accuracy"]
    return "accuracy", words.change(words.accuracy(before), words.accuracy(after)), words.points(before, after)


def _latency(ends: Ends) -> tuple[str, str, str]:
    """Show the shape that gained least."""
    found = _shapes(ends)
    if not found:
        return "latency", words.NONE, "not measured"
    shape, before, after = max(found, key=lambda each: each[2]["p50_ms"] / each[1]["p50_ms"])
    value = words.change(words.digits(before["p50_ms"]), words.ms(after["p50_ms"]))
    return f"p50, {shape}", value, words.times(before["p50_ms"], after["p50_ms"], "faster", "slower")


def _size(ends: Ends) -> tuple[str, str, str]:
    before, after = ends.original["size_bytes"], ends.result["size_bytes"]
    value = words.change(words.digits(before / words.MIB), words.mib(after))
    return "file size", value, words.times(before, after, "smaller", "larger")


def _energy(ends: Ends) -> tuple[str, str, str]:
    """Show the shape that gained least; what was measured goes before estimates."""
    both = [(shape, before["energy"], after["energy"]) for shape, before, after in _shapes(ends)]
    alike = [each for each in both if joules.are_alike(*each[1:])]
    found = [each for each in alike if each[1]["kind"] == "measured"] or alike
    if not found:
        is_known = any(energy["net_j"] is not None for _, *pair in both for energy in pair)
        return "energy", NOT_COMPARABLE if is_known else words.UNAVAILABLE, "why is said under Energy"
    shape, before, after = max(found, key=lambda each: each[2]["net_j"] / each[1]["net_j"])
    size, unit = words.scaled(before["net_j"], "J")
    value = f"{words.change(words.digits(before['net_j'] / size), words.digits(after['net_j'] / size))} {unit}"
    return f"energy {after['kind']}, {shape}", value, words.times(before["net_j"], after["net_j"], "less", "more")


def _shapes(ends: Ends) -> list[tuple[str, Facts, Facts]]:
    """Pair what was measured of both files."""
    before = {words.shape(entry): entry for entry in ends.original["bench"]}
    after = {words.shape(entry): entry for entry in ends.result["bench"]}
    return [(shape, before[shape], entry) for shape, entry in after.items() if shape in before]
