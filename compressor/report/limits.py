"""Limits that a recipe sets on its result, judged on the report; like is compared with like."""

from collections.abc import Callable, Mapping, Sequence

from compressor.bench.result import Entry, Variant
from compressor.bench.shape import Shape
from compressor.report import compare, speed
from compressor.report.document import Gathered, Verdict

SLACK = 1e-9  # rounding: 0.8945 - 0.8845 is above 0.010
Value = tuple[float | None, str]  # the number, None where it cannot be known; and a note on where it stands


def judge(report: Gathered) -> list[Verdict]:
    """Judge a report by the limits of the recipe that it holds."""
    return verdicts(report, report["recipe"].get("gates") or {})


def verdicts(report: Gathered, gates: Mapping[str, float | None]) -> list[Verdict]:
    """Compare the last file with the original under each limit that is set.

    Parameters
    ----------
    report : mapping
        What ``report.json`` holds; ``variants`` is enough.
    gates : mapping from name to limit
        As under ``gates`` in a recipe; a limit of None is not judged.

    Returns
    -------
    list of dict
        ``name``, ``limit``, ``value``, ``met``, and ``note``: where the value was found, or why there
        is none. A value that cannot be known does not meet its limit.
    """
    judged: list[Verdict] = []
    for name, limit in gates.items():
        if limit is not None:
            value, note = MEASURES[name](report["variants"])
            is_met = value is not None and value <= limit + SLACK
            judged.append({"name": name, "limit": limit, "value": value, "met": is_met, "note": note})
    return judged


def _accuracy_drop(variants: Sequence[Variant]) -> Value:
    """Fraction lost by the last file against the original's fp32 file."""
    result, original = compare.last_pair(variants).result, compare.reference(variants)
    before, after = (file.get("accuracy") if file else None for file in (original, result))
    if not result or not original or before is None or after is None:
        return None, "no accuracy of both files"
    return before - after, f"{result['name']} against {original['name']}"


def _size_ratio(variants: Sequence[Variant]) -> Value:
    pair = compare.last_pair(variants)
    result, original = pair.result, pair.original
    if not result or not original or not result["size_bytes"] or not original["size_bytes"]:
        return None, "no sizes of both files"
    return result["size_bytes"] / original["size_bytes"], f"{result['name']} against {original['name']}"


def _p50_ratio(variants: Sequence[Variant]) -> Value:
    """Judge p50, or processor time where other programs shared the core."""
    clock = speed.clock(variants)
    value, note = _worst(variants, lambda entry: (clock.ms(entry), "no processor time of both files"))
    return value, note if clock.is_wall or value is None else f"{note}, by processor time: the cores were shared"


def _energy_ratio(variants: Sequence[Variant]) -> Value:
    return _worst(variants, _joules)


def _joules(entry: Entry) -> Value:
    """Joules of one inference above idle, if a meter gave them."""
    energy = entry["energy"]
    net_j = energy["net_j"]
    if energy["kind"] != "measured" or net_j is None:
        return None, f"energy is {energy['kind']}, and only measured joules are judged"
    if net_j <= 0:
        return None, "energy does not rise above idle"
    return net_j, ""


MEASURES: dict[str, Callable[[Sequence[Variant]], Value]] = {
    "max_accuracy_drop": _accuracy_drop,
    "max_p50_ratio": _p50_ratio,
    "max_size_ratio": _size_ratio,
    "max_energy_ratio": _energy_ratio,
}


def _worst(variants: Sequence[Variant], number: Callable[[Entry], Value]) -> Value:
    """Largest ratio of the last file to the original of its precision, over all that was measured."""
    pair = compare.last_pair(variants)
    if not pair.result or not pair.original or not pair.result["bench"]:
        return None, "nothing was measured"
    before = {Shape.of(entry): entry for entry in pair.original["bench"]}
    ratios = []
    for entry in pair.result["bench"]:
        shape = Shape.of(entry)
        if shape not in before:
            return None, f"the original was not measured at {shape.name}"
        (after_value, why_after), (before_value, why_before) = number(entry), number(before[shape])
        if after_value is None or before_value is None:
            return None, why_after or why_before
        ratios.append((after_value / before_value, f"worst at {shape.name}"))
    return max(ratios)
