"""Joules without a meter: coefficients fitted on a metered board, and what they say of a file."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from .energy import student_t
from .errors import InputError, PlanError
from .reading import parsed_json, read_json, read_text
from .result import Energy, Result, entries
from .written import misfit_of_result

FORMAT = 1
MIN_FILES = 5
MOST_BYTES = 1 << 16  # of a profile, which has a dozen lines


@dataclass(frozen=True)
class Point:
    """One measured inference: what it used, and what it cost above idle."""

    cpu_s: float
    size_bytes: float
    net_j: float


@dataclass(frozen=True)
class Measured:
    """A measured inference: of which file, where, and by which meter."""

    name: str
    point: Point
    cpu: str
    meter: str
    scope: str
    idle_w: float


@dataclass(frozen=True)
class Profile:
    """net J = ``active_w`` x processor seconds + ``joules_per_byte`` x size of the file."""

    cpu: str
    meter: str
    scope: str
    active_w: float
    joules_per_byte: float
    idle_w: float
    n_files: int
    error_fraction: float
    """Root mean square of the relative errors on files that were left out of the fit, each in its turn."""
    cpu_s_low: float
    cpu_s_high: float


def calibrated(results: Sequence[Result]) -> Profile:
    """Fit a profile to results of the bench that were measured on one board with one meter.

    Parameters
    ----------
    results : sequence of mapping
        Contents of `bench.json`; entries whose energy is not measured are left out.

    Returns
    -------
    Profile

    Raises
    ------
    InputError
        If fewer than `MIN_FILES` files were measured, on several processors or by several meters,
        or if some power does not rise above idle.
    """
    measured = list(_measured(results))
    n_files = len({(inference.name, inference.point.size_bytes) for inference in measured})
    if n_files < MIN_FILES:
        raise InputError(f"energy profile: needs {MIN_FILES} measured files, got {n_files}")
    origins = {(inference.cpu, inference.meter, inference.scope) for inference in measured}
    if len(origins) > 1:
        raise InputError(f"energy profile: one board and one meter at a time, got {sorted(origins)}")
    flat = next((inference.name for inference in measured if inference.point.net_j <= 0), None)
    if flat is not None:
        raise InputError(f"energy profile: the power of {flat!r} does not rise above idle")
    points = [inference.point for inference in measured]
    active_w, joules_per_byte = fit(points)
    times_s = [point.cpu_s for point in points]
    idle_w = sum(inference.idle_w for inference in measured) / len(measured)
    (origin,) = origins
    bounds_s = (min(times_s), max(times_s))
    return Profile(*origin, active_w, joules_per_byte, idle_w, n_files, left_out_error(points), *bounds_s)


def fit(points: Sequence[Point]) -> tuple[float, float]:
    """Least squares of the relative errors; neither coefficient is negative.

    Examples
    --------
    >>> watts, joules_per_byte = fit([Point(t, b, 3 * t + 2e-9 * b) for t, b in ((1, 1e8), (2, 5e8), (4, 2e8))])
    >>> round(watts, 6), round(joules_per_byte * 1e9, 6)
    (3.0, 2.0)
    """
    used = np.array([[point.cpu_s, point.size_bytes] for point in points])
    relative = used / np.array([[point.net_j] for point in points])
    scale = relative.max(axis=0)  # seconds and bytes lie orders of magnitude apart
    both = np.linalg.lstsq(relative / scale, np.ones(len(points)), rcond=None)[0] / scale
    alone = relative.sum(axis=0) / (relative**2).sum(axis=0)
    candidates = [both] if (both >= 0).all() else [np.array([alone[0], 0.0]), np.array([0.0, alone[1]])]
    active_w, joules_per_byte = min(candidates, key=lambda candidate: float(((relative @ candidate - 1) ** 2).sum()))
    return float(active_w), float(joules_per_byte)


def left_out_error(points: Sequence[Point]) -> float:
    """Relative error on points that the fit has not seen: fitted to all the others, one after the other."""
    errors = []
    for index, point in enumerate(points):
        active_w, joules_per_byte = fit([*points[:index], *points[index + 1 :]])
        errors.append((active_w * point.cpu_s + joules_per_byte * point.size_bytes) / point.net_j - 1)
    return math.sqrt(sum(error**2 for error in errors) / len(errors))


def estimated(profile: Profile, cpu_s: float, wall_s: float, size_bytes: int, cpu: str) -> Energy:
    """Estimate the energy of one inference.

    Parameters
    ----------
    profile : Profile
        Fitted by `calibrated`.
    cpu_s, wall_s : float, seconds
        Processor time of one inference, all threads together, and its time.
    size_bytes : int
        Size of the file.
    cpu : str
        Processor on which the times were taken; on another one than the profile's they mean little.

    Returns
    -------
    dict
        The ``energy`` of a result, its kind `estimated`; ``low`` and ``high`` follow from the errors of the fit.
    """
    net_j = profile.active_w * cpu_s + profile.joules_per_byte * size_bytes
    half_j = student_t(profile.n_files - 1) * profile.error_fraction * net_j
    gross_j = net_j + profile.idle_w * wall_s
    warnings = []
    if cpu != profile.cpu:
        warnings.append(f"the profile was taken on {profile.cpu}, the times on {cpu}")
    if not profile.cpu_s_low <= cpu_s <= profile.cpu_s_high:
        warnings.append("this file takes less or more time than all those of the profile")
    return {
        "kind": "estimated",
        "net_j": net_j,
        "gross_j": gross_j,
        "low": net_j - half_j,
        "high": net_j + half_j,
        "mean_w": gross_j / wall_s,
        "inferences_per_s": 1 / wall_s,
        "edp_js": gross_j * wall_s,
        "idle_w": profile.idle_w,
        "meter": f"profile by {profile.meter}",
        "scope": profile.scope,
        "profile": asdict(profile),
        "warnings": warnings,
    }


def read_result(path: Path) -> Result:
    """Read what the bench wrote: `bench.json`, or the output of `compress bench --json`."""
    try:
        content: Result = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable JSON file: {error}") from error
    if wrong := misfit_of_result(content):
        raise InputError(f"{path}: not a result of the bench, {wrong}; make it with compress bench --json")
    return content


def write_profile(profile: Profile, path: Path) -> None:
    """Write one `key: value` per line: YAML, and easy to read without a YAML library."""
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in {"format": FORMAT, **asdict(profile)}.items()]
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def read_profile(path: Path) -> Profile:
    """Read what `write_profile` wrote; blank lines and comments are allowed."""
    try:
        lines = read_text(path, MOST_BYTES).splitlines()
        pairs = [line.partition(":") for line in lines if line.strip() and not line.lstrip().startswith("#")]
        content = {key.strip(): parsed_json(value) for key, _, value in pairs}
    except (OSError, ValueError) as error:
        raise PlanError(f"{path}: not a readable energy profile: {error}") from error
    wanted = {"format": int, **{field.name: field.type for field in fields(Profile)}}
    if content.get("format") != FORMAT or content.keys() != wanted.keys():
        raise PlanError(f"{path}: not an energy profile of format {FORMAT}")
    wrong = next((key for key, value in content.items() if not _fits(value, wanted[key])), None)
    if wrong is not None:
        kind = "text" if wanted[wrong] is str else "number that is not negative"
        raise PlanError(f"{path}: {wrong!r} should be a {kind}, got {content[wrong]!r}")
    return Profile(**{key: value for key, value in content.items() if key != "format"})


def _fits(value: object, kind: object) -> bool:
    """Check a value; a whole number is a fine float, and no number of a profile is negative."""
    if kind is str:
        return isinstance(value, str)
    if kind is int:
        return isinstance(value, int) and value >= 0
    return isinstance(value, (int, float)) and 0 <= value < math.inf


def _measured(results: Sequence[Result]) -> Iterator[Measured]:
    """List each measured inference with its file's name and where it was measured."""
    for result in results:
        for variant, entry in entries(result["variants"]):
            energy = entry["energy"]
            net_j, cpu_s, idle_w = energy.get("net_j"), energy.get("cpu_s"), energy.get("idle_w")
            meter, scope = energy.get("meter"), energy.get("scope")
            if energy["kind"] != "measured":
                continue
            if net_j is None or cpu_s is None or idle_w is None or meter is None or scope is None:
                raise InputError(
                    f"energy profile: the joules of {variant['name']!r} lack processor time, idle power or meter"
                )
            point = Point(cpu_s, variant["size_bytes"], net_j)
            yield Measured(variant["name"], point, result["environment"]["cpu"]["model"], meter, scope, idle_w)
