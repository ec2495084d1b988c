"""What the bench wrote, completed: earlier versions lack keys, and a board brings back a file of its own."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, TypeGuard

from compressor.bench import sharing
from compressor.bench.plan import scenario
from compressor.bench.result import FORMAT, Cpu, Energy, Entry, Host, Load, Result, Variant, is_quantized, precision_of
from compressor.errors import InputError


class EntryDefaults(TypedDict):
    """What the first versions did not measure at a shape."""

    mean_ms: float | None
    cpu_ms: float | None
    n_runs: int | None
    n_flops: int | None
    n_instructions: int | None
    block_p50_ms: list[float] | None
    block_cpu_ms: list[float] | None


CPU: Cpu = {"model": "unknown processor", "flags": []}
HOST: Host = {
    "cpu": CPU,
    "versions": {},
    "is_emulated": False,
    "n_cores": None,
    "governor": None,
    "temperature_c": None,
    "date": None,
}
LOAD: Load = {"load_ms": None, "load_range_ms": None, "peak_memory_bytes": None}
ENTRY: EntryDefaults = {
    "mean_ms": None,
    "cpu_ms": None,
    "n_runs": None,
    "n_flops": None,
    "n_instructions": None,
    "block_p50_ms": None,
    "block_cpu_ms": None,
}
ENERGY: Energy = {
    "kind": "unavailable",
    "net_j": None,
    "gross_j": None,
    "low": None,
    "high": None,
    "mean_w": None,
    "inferences_per_s": None,
    "edp_js": None,
    "idle_w": None,
    "meter": None,
    "scope": None,
    "reason": None,
    "host": None,
}
JOULES = ("net_j", "gross_j", "low", "high", "mean_w", "inferences_per_s", "edp_js", "idle_w")
LOADED = ("load_ms", "peak_memory_bytes", "output_difference")
SERIES = ("block_p50_ms", "block_cpu_ms")
NUMBERS = ("batch_size", "threads", "p50_ms", "p90_ms", "p99_ms", "throughput_per_s")
CURE = "give what compress bench --json wrote"


def completed(result: Result) -> Result:
    """Give a result of any version of the bench all keys of today; what is not known is None."""
    host = result.get("environment", HOST)
    return {
        **result,
        "environment": {**HOST, **host, "cpu": {**CPU, **host.get("cpu", CPU)}},
        "variants": [variant(measured) for measured in result["variants"]],
    }


def variant(measured: Variant) -> Variant:
    """Give what is known of a file all keys of today; `quantized` stays for readers of format 1."""
    precision = precision_of(measured)
    return {
        **LOAD,
        **measured,
        "output_difference": measured.get("output_difference"),
        "precision": precision,
        "quantized": is_quantized(precision),
        "bench": [_entry(entry) for entry in measured["bench"]],
    }


def read(path: Path) -> Result:
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


def elsewhere(variants: Sequence[Variant], result: Result, path: Path) -> list[Variant]:
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
    there = {measured["name"]: measured for measured in result["variants"]}
    here = {own["name"]: own for own in variants}
    problems = [f"{name!r} is missing" for name in here if name not in there]
    problems += [f"{name!r} is unknown" for name in there if name not in here]
    sizes = [(name, there[name]["size_bytes"], own["size_bytes"]) for name, own in here.items() if name in there]
    other = next((size for size in sizes if size[1] != size[2]), None)
    if other:
        problems.append("{!r} has {:,} bytes there and {:,} here".format(*other))
    if problems:
        raise InputError(
            f"{path}: not measured on the files of this run: {', '.join(problems)}; measure this run there"
        )
    return [_measured_there(own, there[name]) for name, own in here.items()]


def _measured_there(own: Variant, measured: Variant) -> Variant:
    """Replace what a variant owes to the machine that it was measured on."""
    return {
        **own,
        "size_bytes": measured["size_bytes"],
        "load_ms": measured["load_ms"],
        "load_range_ms": measured["load_range_ms"],
        "peak_memory_bytes": measured["peak_memory_bytes"],
        "output_difference": measured["output_difference"],
        "bench": measured["bench"],
    }


def _entry(measured: Entry) -> Entry:
    energy: Energy = {**ENERGY, "warnings": [], **measured["energy"]}
    scenario_ = scenario(measured["batch_size"])
    is_shared = sharing.is_shared(measured, measured["threads"])
    return {**ENTRY, "scenario": scenario_, "is_shared": is_shared, **measured, "energy": energy}


def _is_result(content: object) -> TypeGuard[Result]:
    """Check the form as far as the report relies on it."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return False
    variants = content.get("variants")
    return isinstance(variants, list) and all(map(_is_variant, variants)) and _is_host(content.get("environment"))


def _is_host(content: object) -> bool:
    if not isinstance(content, dict) or not all(isinstance(content.get(key), dict) for key in ("cpu", "versions")):
        return False
    cpu = {**CPU, **content["cpu"]}
    is_known = isinstance(cpu["model"], str) and isinstance(cpu["flags"], list)
    return is_known and all(_is_number(content.get(key), allow_none=True) for key in ("n_cores", "temperature_c"))


def _is_variant(content: object) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        return False
    entries = content.get("bench")
    if not isinstance(content.get("size_bytes"), int) or not isinstance(entries, list):
        return False
    is_loaded = all(_is_number(content.get(key), allow_none=True) for key in LOADED)
    return is_loaded and _is_series(content.get("load_range_ms")) and all(map(_is_entry, entries))


def _is_entry(content: object) -> bool:
    if not isinstance(content, dict) or not all(_is_number(content.get(key)) and content[key] > 0 for key in NUMBERS):
        return False
    if not all(_is_number(content.get(key), allow_none=True) for key in ("mean_ms", "cpu_ms")):
        return False
    if not all(_is_series(content.get(key)) for key in SERIES):
        return False
    energy = content.get("energy")
    if "length" not in content or not isinstance(energy, dict) or "kind" not in energy:
        return False
    return all(_is_number(energy.get(key), allow_none=True) for key in JOULES)


def _is_series(value: object) -> bool:
    """Tell whether this is a list of numbers, or nothing."""
    return value is None or (isinstance(value, list) and all(map(_is_number, value)))


def _is_number(value: object, *, allow_none: bool = False) -> bool:
    return (value is None and allow_none) or (isinstance(value, int | float) and math.isfinite(value))
