"""The report of a run: report.json, and one page that opens without a network."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from compressor.bench.reading import read_text
from compressor.errors import RunDirError
from compressor.files import explained, write_json, write_text
from compressor.report import compare, figures, headline, joules, limits, speed, spread, targets, widths, words
from compressor.report.document import Report
from compressor.report.gather import gather
from compressor.rundir import RunDir

KERNELS = ("sse4_2", "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
KERNELS_ARM = ("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2", "sme")


def write(path: Path, elsewhere: Path | None = None) -> Report:
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
    gathered = gather(path, elsewhere)
    report: Report = {**gathered, "gates": limits.judge(gathered)}
    place = folder(path, elsewhere)
    for each in (RunDir(path).report, place):
        if each.is_symlink():
            raise RunDirError(f"{each}: a link to another folder; move it away, so that a report can be written")
    with explained(place):
        place.mkdir(parents=True, exist_ok=True)
    write_json(place / "report.json", report)
    write_text(place / "index.html", render(report, read_text(RunDir(path).recipe)))
    return report


def folder(path: Path, elsewhere: Path | None = None) -> Path:
    """Folder of a run's report; what another machine measured has one by the name of its file."""
    home = RunDir(path).report
    return home / (elsewhere.stem.strip(".") or "elsewhere") if elsewhere else home


def render(report: Report, recipe: str) -> str:
    """Draw the page; the templates call the modules that they name."""
    modules = {
        "compare": compare,
        "figures": figures,
        "headline": headline,
        "joules": joules,
        "speed": speed,
        "spread": spread,
        "targets": targets,
        "widths": widths,
        "words": words,
    }
    flags = [flag for flag in (*KERNELS, *KERNELS_ARM) if flag in report["environment"]["cpu"]["flags"]]
    return templates().get_template("page.html.j2").render(report=report, recipe=recipe, flags=flags, **modules)


def templates() -> Environment:
    """Open the folder of templates."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: name != "page.css",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
