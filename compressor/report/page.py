"""The report of a run: report.json, and one page that opens without a network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from compressor.files import explained, write_json, write_text
from compressor.report import compare, figures, headline, joules, limits, spread, words
from compressor.report.gather import gather
from compressor.rundir import RunDir

KERNELS = ("sse4_2", "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
KERNELS_ARM = ("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2", "sme")


def write(path: Path, elsewhere: Path | None = None) -> dict[str, Any]:
    """Write ``report.json`` and ``index.html`` of a run into its `folder`, and return the report.

    Parameters
    ----------
    path : Path
        The run directory, finished or not.
    elsewhere : Path, optional
        What the bench wrote on another machine about the files of the run: a report of its own.

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
    report = gather(path, elsewhere)
    report["gates"] = limits.judge(report)
    place = folder(path, elsewhere)
    with explained(place):
        place.mkdir(parents=True, exist_ok=True)
    write_json(place / "report.json", report)
    write_text(place / "index.html", render(report, RunDir(path).recipe.read_text(encoding="utf-8")))
    return report


def folder(path: Path, elsewhere: Path | None = None) -> Path:
    """Folder of a run's report; what another machine measured has one by the name of its file."""
    home = RunDir(path).report
    return home / (elsewhere.stem.strip(".") or "elsewhere") if elsewhere else home


def render(report: Mapping[str, Any], recipe: str) -> str:
    """Draw the page."""
    variants = report["variants"]
    pairs = compare.pairs(variants)
    standing, is_met = headline.gates(report)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: name != "page.css",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        report=report,
        words=words,
        joules=joules,
        standing=standing,
        is_met=is_met,
        headline=headline.headline(report),
        behind=headline.behind(report),
        findings=headline.findings(report),
        pairs=pairs,
        rows=compare.rows(pairs),
        shapes=compare.shapes(variants),
        at=compare.entry_at,
        latency=spread.latency(variants),
        energy=spread.energy(variants),
        with_energy=compare.shapes(variants, lambda entry: entry["energy"]["net_j"] is not None),
        is_counted=any(entry["n_instructions"] is not None for each in variants for entry in each["bench"]),
        differences=[each for each in variants if each["output_difference"] is not None],
        scatter=figures.accuracy_against_latency(variants),
        layers=layers(report["widths"]),
        pixels=figures.pixels(report["features"]),
        rounds={stage["folder"]: figures.rounds(stage["rounds"]) for stage in report["stages"]},
        flags=[flag for flag in (*KERNELS, *KERNELS_ARM) if flag in report["environment"]["cpu"]["flags"]],
        recipe=recipe,
    )


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
