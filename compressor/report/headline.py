"""The result of a run for a reader with five seconds: one sentence, and four numbers with their limits."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from compressor.bench.result import Entry, Variant
from compressor.bench.shape import Shape
from compressor.report import compare, joules, speed, words
from compressor.report.document import Report

NOT_COMPARABLE = "not comparable"
UNKNOWN = (words.NONE, words.UNAVAILABLE, NOT_COMPARABLE)


@dataclass(frozen=True)
class Ends:
    """Files that a verdict compares."""

    reference: Variant
    """Original whose accuracy counts, the fp32 file."""
    original: Variant
    result: Variant
    """Last file, and the original of its precision."""
    accuracies: tuple[float, float]
    """Of the reference and of the result."""
    clock: speed.Clock
    """What files are compared by: all of the report by the same."""


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


def headline(report: Report) -> str:
    """Sum up a report in one sentence."""
    ends = _ends(report)
    if ends is None:
        return _unmeasured(report)
    price = words.lost(ends.accuracies[0] - ends.accuracies[1])
    size = words.times(ends.original["size_bytes"], ends.result["size_bytes"], "smaller", "larger")
    size = size.replace(words.SAME, f"{words.SAME} size")
    fast = _speed(ends)
    note = speed.note(report["variants"])
    what = f"The {ends.result['name']} file is {f'{fast}, {size},' if fast else size} and {price} of accuracy."
    return f"{note} {what}" if note else what


def behind(report: Report) -> str:
    """Say what stands behind the headline."""
    ends = _ends(report)
    if ends is None:
        return "What is known is shown below."
    reference, result = ends.reference, ends.result
    before, after = ends.accuracies
    return (
        f"Against {ends.original['name']} on the same processor, {report['environment']['cpu']['model']}. Accuracy "
        f"{words.accuracy(after)} against {words.accuracy(before)} of {reference['name']}, "
        f"on {result['n_examples']:,} examples of the {result['split']} split.{_emulated(report)}"
    )


def gates(report: Report) -> tuple[str, bool | None]:
    """Say how all gates together stand; nothing where none is set or nothing was measured yet."""
    verdicts = report["gates"] if report["is_measured"] else []
    if not verdicts:
        return "", None
    states = [(words.GATES[verdict["name"]], words.state(verdict)) for verdict in verdicts]
    doubtful = [f"{name} {state}" for name, state in states if state != "met"]
    if not doubtful:
        return "gate met" if len(states) == 1 else f"{len(states)} gates met", True
    met = [f"{len(states) - len(doubtful)} of {len(states)} gates met"] if len(states) > 1 else []
    return ", ".join([*doubtful, *met]), False


def findings(report: Report) -> list[Finding]:
    """List what the headline rests on, each with its gate; without files to compare, nothing."""
    ends = _ends(report)
    if ends is None:
        return []
    verdicts = {verdict["name"]: verdict for verdict in report["gates"]}
    describe: dict[str, Callable[[Ends], tuple[str, str, str]]] = {
        "max_p50_ratio": _latency,
        "max_size_ratio": _size,
        "max_accuracy_drop": _accuracy,
        "max_energy_ratio": _energy,
    }
    listed = []
    for name, about in describe.items():
        title, value, note = about(ends)
        verdict = verdicts.get(name)
        if verdict:
            listed.append(Finding(title, value, words.standing(verdict), verdict["met"]))
        elif value not in UNKNOWN or _shapes(ends):
            listed.append(Finding(title, value, note))
    return listed


def _ends(report: Report) -> Ends | None:
    if not report["is_measured"]:
        return None
    reference = compare.reference(report["variants"])
    for pair in reversed(compare.pairs(report["variants"])):
        if reference and pair.original and pair.result:
            before, after = reference.get("accuracy"), pair.result.get("accuracy")
            if before is not None and after is not None:
                clock = speed.clock(report["variants"])
                return Ends(reference, pair.original, pair.result, (before, after), clock)
    return None


def _unmeasured(report: Report) -> str:
    n_done, n_all = len(report["stages"]), len(report["recipe"]["stages"])
    if n_done == 0:
        return "This run has not finished a stage yet."
    if n_done < n_all:
        return f"This run stopped after {report['stages'][-1]['folder']}, {n_done} of {n_all} stages."
    if not any(variant["kind"] == "result" for variant in report["variants"]):
        return "All stages are done; none of them exports a file that could be measured."
    return "All stages are done; nothing has been measured yet."


def _emulated(report: Report) -> str:
    """Say what an emulated processor was good for: it computes the same, in a time that means nothing."""
    host = report["environment"]["measured"]
    if host is None or not host["is_emulated"]:
        return ""
    differences = [variant["output_difference"] for variant in report["variants"]]
    known = [difference for difference in differences if difference is not None]
    outputs = f"; outputs differ by at most {max(known):.2g} from what they should be" if known else ""
    return f" The processor is emulated, so nothing was timed{outputs}."


def _speed(ends: Ends) -> str:
    """Say how much faster: one factor, or the range over the measured shapes."""
    known = [ends.clock.factor(before, after) for _, before, after in _shapes(ends)]
    factors = sorted(factor for factor in known if factor is not None)
    if not factors:
        return ""
    if factors[0] == factors[-1] == 1:
        return f"{words.SAME} speed"
    least, most = (f"{factor:.1f}" for factor in (factors[0], factors[-1]))
    range_ = least if least == most else f"{least} to {most}"
    if factors[0] == 1:
        return f"up to {most}{words.TIMES} faster"
    return f"{range_}{words.TIMES} faster" if factors[0] > 1 else f"{range_}{words.TIMES} the speed of the original"


def _accuracy(ends: Ends) -> tuple[str, str, str]:
    before, after = ends.accuracies
    return "accuracy", words.change(words.accuracy(before), words.accuracy(after)), words.points(before, after)


def _latency(ends: Ends) -> tuple[str, str, str]:
    """Show the shape that gained least."""
    measured = _shapes(ends)
    if not measured:
        return "latency", words.NONE, "not measured"
    clock = ends.clock
    shape, before, after = min(measured, key=lambda at: clock.factor(at[1], at[2]) or math.inf)
    value = words.change(words.number(clock.ms(before)), words.ms(clock.ms(after)))
    return f"{clock.title}, {words.shape(shape)}", value, clock.change(before, after)


def _size(ends: Ends) -> tuple[str, str, str]:
    before, after = ends.original["size_bytes"], ends.result["size_bytes"]
    value = words.change(words.digits(before / words.MIB), words.mib(after))
    return "file size", value, words.times(before, after, "smaller", "larger")


def _energy(ends: Ends) -> tuple[str, str, str]:
    """Show the shape that gained least; what was measured goes before estimates."""
    energies = [(shape, before["energy"], after["energy"]) for shape, before, after in _shapes(ends)]
    nets = [(shape, after["kind"], joules.net_pair(before, after)) for shape, before, after in energies]
    alike = [(shape, kind, net) for shape, kind, net in nets if net is not None]
    if not alike:
        is_known = any(energy["net_j"] is not None for _, *pair in energies for energy in pair)
        return "energy", NOT_COMPARABLE if is_known else words.UNAVAILABLE, "the reason is given under Energy"
    best = [candidate for candidate in alike if candidate[1] == "measured"] or alike
    shape, kind, (before_j, after_j) = max(best, key=lambda candidate: candidate[2][1] / candidate[2][0])
    size, unit = words.scaled(before_j, "J")
    value = f"{words.change(words.digits(before_j / size), words.digits(after_j / size))} {unit}"
    return f"energy {kind}, {words.shape(shape)}", value, words.times(before_j, after_j, "less", "more")


def _shapes(ends: Ends) -> list[tuple[Shape, Entry, Entry]]:
    """Pair what was measured of both files."""
    before = {Shape.of(entry): entry for entry in ends.original["bench"]}
    after = {Shape.of(entry): entry for entry in ends.result["bench"]}
    return [(shape, before[shape], entry) for shape, entry in after.items() if shape in before]
