"""The report of a run: report.json, and one page that opens without a network."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from compressor.report import compare, figures, words
from compressor.report.gather import gather
from compressor.rundir import RunDir, explained, write_json, write_text

Verdicts = list[dict[str, Any]]
KERNELS = ("sse4_2", "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
KERNELS_ARM = ("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2", "sme")


def write(path: Path, judge: Callable[[Mapping[str, Any]], Verdicts]) -> dict[str, Any]:
    """Write ``report/report.json`` and ``report/index.html`` of a run, and return the report.

    Parameters
    ----------
    path : Path
        The run directory, finished or not.
    judge : callable
        Gives ``gates`` from the rest of the report: `gate.judge`, which lies above and is handed down.

    Returns
    -------
    dict
        What ``report.json`` holds.

    Raises
    ------
    InputError
        If the folder holds no run, or one of its files is damaged.
    RunDirError
        If the report cannot be written.
    """
    run = RunDir(path)
    report = gather(path)
    report["gates"] = judge(report)
    with explained(run.report):
        run.report.mkdir(exist_ok=True)
    write_json(run.report / "report.json", report)
    write_text(run.report / "index.html", render(report, run.recipe.read_text(encoding="utf-8")))
    return report


def render(report: Mapping[str, Any], recipe: str) -> str:
    """Draw the page."""
    pairs = compare.pairs(report["variants"])
    headline, behind = compare.verdict(report)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        report=report,
        words=words,
        headline=headline,
        behind=behind,
        pairs=pairs,
        rows=compare.rows(pairs),
        scatter=figures.accuracy_against_latency(report["variants"]),
        layers=layers(report["widths"]),
        pixels=figures.pixels(report["features"]),
        rounds={stage["folder"]: figures.rounds(stage["rounds"]) for stage in report["stages"]},
        flags=[flag for flag in (*KERNELS, *KERNELS_ARM) if flag in report["environment"]["cpu"]["flags"]],
        energy_note=_energy_note(report["variants"]),
        recipe=recipe,
    )


def _energy_note(variants: Sequence[Mapping[str, Any]]) -> str:
    """Name the meter and what it covers, or why there is none."""
    found = next((entry["energy"] for variant in variants for entry in variant["bench"]), None)
    if found is None:
        return ""
    if found["kind"] == "unavailable":
        return f"unavailable: {found['reason']}"
    return f"{found['kind']} with {found['meter']}, {found['scope']}; J/inference above idle"


def layers(widths: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Group widths by layer, and scale each against the widest of its kind; kinds that lost nothing are left out."""
    widest: dict[str, int] = {}
    lost = {
        _kind(width) for width in widths if not width["is_removed"] and width["n_units"] < width["n_units_original"]
    }
    widths = [width for width in widths if _kind(width) in lost] or widths
    for width in widths:
        kind = _kind(width)
        widest[kind] = max(widest.get(kind, 1), width["n_units_original"])
    grouped: dict[str, list[dict[str, Any]]] = {}
    for width in widths:
        layer, _, kind = width["name"].rpartition(".")
        lane = {"kind": kind, "before": width["n_units_original"], "after": width["n_units"]}
        shares = {"ghost": width["n_units_original"] / widest[kind], "full": width["n_units"] / widest[kind]}
        grouped.setdefault(layer or kind, []).append({**lane, **shares, "is_removed": width["is_removed"]})
    return [
        {"name": name, "lanes": lanes, "is_removed": all(lane["is_removed"] for lane in lanes)}
        for name, lanes in grouped.items()
    ]


def _kind(width: Mapping[str, Any]) -> str:
    return str(width["name"].rpartition(".")[2])
