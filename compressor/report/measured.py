"""What the bench wrote, made whole: earlier versions lack keys, and a board brings back a file of its own."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.bench.plan import scenario
from compressor.errors import InputError

Facts = Mapping[str, Any]
FORMAT = 1
ENVIRONMENT: dict[str, Any] = {"cpu": {"model": "unknown processor", "flags": []}, "versions": {}, "is_emulated": False}
ENVIRONMENT |= dict.fromkeys(("n_cores", "governor", "temperature_c", "date"))
VARIANT = dict.fromkeys(("load_ms", "peak_memory_bytes", "output_difference"))
ENTRY = dict.fromkeys(("mean_ms", "cpu_ms", "n_runs", "n_flops", "n_instructions"))
JOULES = ("net_j", "gross_j", "low", "high", "mean_w", "inferences_per_s", "edp_js", "idle_w")
ENERGY = dict.fromkeys((*JOULES, "meter", "scope", "reason", "host"))
MEASURED = ("size_bytes", "bench", *VARIANT)  # what a variant owes to the machine it was measured on
NUMBERS = ("batch_size", "threads", "p50_ms", "p90_ms", "p99_ms", "throughput_per_s")
CURE = "give what compress bench --json wrote"


def completed(result: Facts) -> dict[str, Any]:
    """Give a result of any version of the bench all keys of today; what it did not know is None."""
    host = result.get("environment", {})
    return {
        **result,
        "environment": {**ENVIRONMENT, **host, "cpu": {**ENVIRONMENT["cpu"], **host.get("cpu", {})}},
        "variants": [variant(each) for each in result["variants"]],
    }


def variant(found: Facts) -> dict[str, Any]:
    """Give what is known of a file all keys of today."""
    return {**VARIANT, **found, "bench": [_entry(each) for each in found["bench"]]}


def read(path: Path) -> dict[str, Any]:
    """Read a result of the bench from anywhere.

    Raises
    ------
    InputError
        If the file is missing, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; {CURE}") from error
    except ValueError as error:
        raise InputError(f"{path}: not a readable JSON file: {error}; {CURE}") from error
    if not _is_result(content):
        raise InputError(f"{path}: not a result of the bench of format {FORMAT}; {CURE}")
    return completed(content)


def elsewhere(variants: Sequence[Facts], result: Facts, path: Path) -> list[dict[str, Any]]:
    """Give the variants of a run what another machine measured of the same files.

    Parameters
    ----------
    variants : sequence of mapping
        Those of the run; what they say of accuracy and origin stays.
    result : mapping
        From `read`; its variants go by the same names.
    path : Path
        Where it was read, for messages.

    Raises
    ------
    InputError
        If a variant is missing or unknown, or is a file of another size.
    """
    there = {each["name"]: each for each in result["variants"]}
    here = {each["name"]: each for each in variants}
    problems = [f"{name!r} is missing" for name in here if name not in there]
    problems += [f"{name!r} is unknown" for name in there if name not in here]
    sizes = [(name, there[name]["size_bytes"], each["size_bytes"]) for name, each in here.items() if name in there]
    other = next((each for each in sizes if each[1] != each[2]), None)
    if other:
        problems.append("{!r} has {:,} bytes there and {:,} here".format(*other))
    if problems:
        raise InputError(
            f"{path}: not measured on the files of this run: {', '.join(problems)}; measure this run there"
        )
    return [{**each, **{key: there[name][key] for key in MEASURED}} for name, each in here.items()]


def _entry(found: Facts) -> dict[str, Any]:
    return {
        "scenario": scenario(found["batch_size"]),
        **ENTRY,
        **found,
        "energy": {**ENERGY, "warnings": [], **found["energy"]},
    }


def _is_result(content: Any) -> bool:
    """Check the form as far as the report relies on it."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return False
    variants = content.get("variants")
    return isinstance(variants, list) and all(map(_is_variant, variants)) and _is_host(content.get("environment"))


def _is_host(found: Any) -> bool:
    if not isinstance(found, dict) or not all(isinstance(found.get(key), dict) for key in ("cpu", "versions")):
        return False
    cpu = {**ENVIRONMENT["cpu"], **found["cpu"]}
    is_known = isinstance(cpu["model"], str) and isinstance(cpu["flags"], list)
    return is_known and all(_is_number(found.get(key), allow_none=True) for key in ("n_cores", "temperature_c"))


def _is_variant(found: Any) -> bool:
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return False
    entries = found.get("bench")
    if not isinstance(found.get("size_bytes"), int) or not isinstance(entries, list):
        return False
    return all(map(_is_entry, entries)) and all(_is_number(found.get(key), allow_none=True) for key in VARIANT)


def _is_entry(found: Any) -> bool:
    if not isinstance(found, dict) or not all(_is_number(found.get(key)) and found[key] > 0 for key in NUMBERS):
        return False
    energy = found.get("energy")
    if "length" not in found or not isinstance(energy, dict) or "kind" not in energy:
        return False
    return all(_is_number(energy.get(key), allow_none=True) for key in JOULES)


def _is_number(value: Any, *, allow_none: bool = False) -> bool:
    return (value is None and allow_none) or (isinstance(value, int | float) and math.isfinite(value))
