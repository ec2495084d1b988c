"""Limits that a recipe sets on its result, judged on the report; like is compared with like."""

from collections.abc import Callable, Mapping
from typing import Any

SLACK = 1e-9  # rounding: 0.8945 - 0.8845 is above 0.010
Found = tuple[float | None, str]  # the number, None where it cannot be known; and a note on where it stands


def judge(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Judge a report by the limits of the recipe that it holds."""
    return verdicts(report, report["recipe"].get("gates") or {})


def verdicts(report: Mapping[str, Any], gates: Mapping[str, float | None]) -> list[dict[str, Any]]:
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
    found = []
    for name, limit in gates.items():
        if limit is not None:
            value, note = MEASURES[name](report["variants"])
            is_met = value is not None and value <= limit + SLACK
            found.append({"name": name, "limit": limit, "value": value, "met": is_met, "note": note})
    return found


def _accuracy_drop(variants: list[dict[str, Any]]) -> Found:
    """Fraction lost by the last file against the original's fp32 file."""
    result, original = _last_result(variants), _original(variants, quantized=False)
    if not result or not original or result.get("accuracy") is None or original.get("accuracy") is None:
        return None, "no accuracy of both files"
    return original["accuracy"] - result["accuracy"], f"{result['name']} against {original['name']}"


def _size_ratio(variants: list[dict[str, Any]]) -> Found:
    result, original = _pair(variants)
    if not result or not original or not result.get("size_bytes") or not original.get("size_bytes"):
        return None, "no sizes of both files"
    return result["size_bytes"] / original["size_bytes"], f"{result['name']} against {original['name']}"


def _p50_ratio(variants: list[dict[str, Any]]) -> Found:
    return _worst(variants, lambda entry: (entry["p50_ms"], ""))


def _energy_ratio(variants: list[dict[str, Any]]) -> Found:
    return _worst(variants, _joules)


def _joules(entry: Mapping[str, Any]) -> Found:
    """Joules of one inference above idle, if a meter gave them."""
    energy = entry["energy"]
    if energy["kind"] != "measured":
        return None, f"energy is {energy['kind']}, and only measured joules are judged"
    if energy["net_j"] <= 0:
        return None, "energy does not rise above idle"
    return energy["net_j"], ""


MEASURES: dict[str, Callable[[list[dict[str, Any]]], Found]] = {
    "max_accuracy_drop": _accuracy_drop,
    "max_p50_ratio": _p50_ratio,
    "max_size_ratio": _size_ratio,
    "max_energy_ratio": _energy_ratio,
}


def _worst(variants: list[dict[str, Any]], number: Callable[[Mapping[str, Any]], Found]) -> Found:
    """Largest ratio of the last file to the original of its kind, over all that was measured."""
    result, original = _pair(variants)
    if not result or not original or not result["bench"]:
        return None, "nothing was measured"
    before = {_shape(entry): entry for entry in original["bench"]}
    ratios = []
    for entry in result["bench"]:
        if _shape(entry) not in before:
            return None, f"the original was not measured at {_shape(entry)}"
        (ours, why), (theirs, why_theirs) = number(entry), number(before[_shape(entry)])
        if ours is None or theirs is None:
            return None, why or why_theirs
        ratios.append((ours / theirs, f"worst at {_shape(entry)}"))
    return max(ratios)


def _shape(entry: Mapping[str, Any]) -> str:
    """Name a shape: batch x length, and the threads."""
    length = f"x{entry['length']}" if entry["length"] else ""
    return f"{entry['batch_size']}{length}, threads {entry['threads']}"


def _pair(variants: list[dict[str, Any]]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Find the last result, and the original of its kind."""
    result = _last_result(variants)
    return result, _original(variants, result["quantized"]) if result else None


def _last_result(variants: list[dict[str, Any]]) -> dict[str, Any] | None:
    return next((variant for variant in reversed(variants) if variant["kind"] == "result"), None)


def _original(variants: list[dict[str, Any]], quantized: bool) -> dict[str, Any] | None:
    return next((each for each in variants if each["kind"] == "original" and each["quantized"] == quantized), None)
