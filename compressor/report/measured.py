"""What the bench wrote, completed: earlier versions lack keys, and a board brings back a file of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from compressor.bench import sharing
from compressor.bench.plan import scenario
from compressor.bench.reading import read_json
from compressor.bench.result import Cpu, Energy, Entry, Host, Load, Result, Variant, is_quantized, precision_of
from compressor.bench.written import misfit_of_result
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
        content: Result = read_json(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; {CURE}") from error
    except ValueError as error:
        raise InputError(f"{path}: not a readable JSON file: {error}; {CURE}") from error
    try:
        return checked(content)
    except ValueError as error:
        raise InputError(f"{path}: not a result of the bench, {error}; {CURE}") from error


def checked(content: Any) -> Result:
    """Complete a result of any version of the bench; raise a `ValueError` for anything else."""
    if wrong := misfit_of_result(content):
        raise ValueError(wrong)
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
