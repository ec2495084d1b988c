"""Model cards: the README.md of a folder, for the Hub and for readers who find the folder by itself."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired, Protocol, TypedDict

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from compressor.bench.result import Variant
from compressor.files import readable_json, write_text
from compressor.report import compare, joules, speed, widths, words
from compressor.report.document import CardKind, Report, StageSummary, WidthChange

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
SKLEARN = "sklearn:"
MARKUP = re.compile(r"[\\`*\[\]#|~]|\b_|_\b")  # what Markdown gives a meaning to
MOST_LABELS = 20  # that a card names
DATA_FILES = (".csv", ".json", ".jsonl", ".parquet")


class IndexedResult(TypedDict):
    """One evaluation result as the Hub reads it."""

    task: dict[str, str]
    dataset: dict[str, str | None]
    metrics: list[dict[str, str | float | None]]


class IndexedModel(TypedDict):
    """One entry of a model index, which the Hub shows as evaluation results."""

    name: str
    results: list[IndexedResult]


FrontMatter = TypedDict(
    "FrontMatter",
    {
        "library_name": str,
        "pipeline_tag": str,
        "tags": list[str],
        "base_model": NotRequired[str],
        "datasets": NotRequired[list[str]],
        "metrics": NotRequired[list[str]],
        "model-index": NotRequired[list[IndexedModel]],
    },
)


class Usage(Protocol):
    """How an exported file is used; the file of a task says it."""

    OPTIMUM: str
    """Name of optimum's class that opens the folder; empty where there is none."""

    def snippet(self, file: str) -> str:
        """Write the few lines that run the file."""


def write_card(folder: Path, report: Report, kind: CardKind, usage: Usage) -> None:
    """Write ``README.md`` into a folder that a stage left: a reloadable model, or an ONNX file with its processor.

    Parameters
    ----------
    folder : Path
        ``NN-stage/model`` for a model, ``NN-stage`` for ONNX.
    report : mapping
        What `page.write` returned.
    kind : "model" or "onnx"
        How the folder is loaded.
    usage : Usage
        How the file is used: the file of the run's task.
    """
    stage = _stage(folder, report, kind)
    files = [variant for variant in report["variants"] if Path(variant["file"]).parent.name == folder.name]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["plain"] = plain
    body = environment.get_template("card.md.j2").render(
        report=report,
        words=words,
        joules=joules,
        speed=speed,
        kind=kind,
        stage=stage,
        source=_hub_id(report["recipe"]["model"]["checkpoint"]),
        dataset=_hub_id(report["recipe"]["data"]["dataset"]),
        dataset_name=_dataset_name(report["recipe"]["data"]["dataset"]),
        reads=_read_and_answered(folder),
        usage=usage,
        features=stage["features"],
        removed=removed(stage["widths"]),
        file=Path(files[0]["file"]).name if files else "model.onnx",
        precision=_lower_precision(files),
        shapes=compare.shapes(report["variants"]),
        at=compare.entry_at,
    )
    front = yaml.safe_dump(_front_matter(report, kind, files), sort_keys=False, allow_unicode=True)
    write_text(folder / "README.md", f"---\n{front}---\n\n{body}")


def plain(text: str) -> str:
    r"""Write a text of somebody else so that Markdown shows it as it is, in one line.

    Examples
    --------
    >>> plain("<img src=x>\n# a_b _c_")
    '&lt;img src=x&gt; \\# a_b \\_c\\_'
    """
    one_line = " ".join(text.split())
    return MARKUP.sub(r"\\\g<0>", one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def _read_and_answered(folder: Path) -> list[str]:
    """Say which labels a network answers with and how long its texts may be, as the files beside it have it."""
    config, tokenizer = readable_json(folder / "config.json"), readable_json(folder / "tokenizer_config.json")
    said = []
    if config and (names := config.get("id2label")):
        labels = [str(names[key]) for key in sorted(names, key=int)]
        more = f" and {len(labels) - MOST_LABELS:,} more" if len(labels) > MOST_LABELS else ""
        said.append(f"Labels, in the order of the outputs: {', '.join(map(plain, labels[:MOST_LABELS]))}{more}.")
    if tokenizer and isinstance(length := tokenizer.get("model_max_length"), int):
        said.append(f"It was made for texts of up to {length:,} tokens; its tokenizer cuts longer ones.")
    return said


def removed(changes: Sequence[WidthChange]) -> list[str]:
    """Say what is gone, a line for the layers and one for each kind of unit."""
    by_layer: dict[str, list[WidthChange]] = {}
    by_kind: dict[str, list[WidthChange]] = {}
    for change in changes:
        name = widths.split(change["name"])
        if name.is_of_numbered_layer:
            by_layer.setdefault(name.layer, []).append(change)
        if not change["is_removed"]:
            by_kind.setdefault(name.what, []).append(change)
    gone = [layer for layer, members in by_layer.items() if all(change["is_removed"] for change in members)]
    lines = [f"whole layers: {', '.join(gone)} ({len(gone)} of {len(by_layer)})"] if gone else []
    for kind, members in by_kind.items():
        before = _range([change["n_units_original"] for change in members])
        after = _range([change["n_units"] for change in members])
        if before != after:
            where = "" if members[0]["name"] == kind else f" in each layer{' that stays' if gone else ''}"
            lines.append(f"{kind}: {after} left of {before}{where}")
    return lines


def _range(sizes: Sequence[int]) -> str:
    low, high = min(sizes), max(sizes)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _stage(folder: Path, report: Report, kind: CardKind) -> StageSummary:
    name = folder.parent.name if kind == "model" else folder.name
    return next(stage for stage in report["stages"] if stage["folder"] == name)


def _lower_precision(files: Sequence[Variant]) -> str:
    """Name the precision below fp32 that a file of the folder has; empty if there is none."""
    return next((variant["precision"] or "" for variant in files if variant["precision"] not in (None, "fp32")), "")


def _front_matter(report: Report, kind: CardKind, files: Sequence[Variant]) -> FrontMatter:
    """Collect what the Hub reads; the licence is the checkpoint's, which a run does not know."""
    task, source = report["recipe"]["model"]["task"], _hub_id(report["recipe"]["model"]["checkpoint"])
    dataset = _hub_id(report["recipe"]["data"]["dataset"])
    tags = ["compressor", "pruned", *(["onnx"] if kind == "onnx" else [])]
    if precision := _lower_precision(files):
        tags.append(precision)
    front: FrontMatter = {
        "library_name": "onnx" if kind == "onnx" else "compressor",
        "pipeline_tag": task,
        "tags": tags,
    }
    if source:
        front["base_model"] = source
    if dataset:
        front["datasets"] = [dataset]
    front["metrics"] = ["accuracy"]
    if dataset and files:
        front["model-index"] = [
            {"name": report["name"], "results": [_result(task, dataset, variant) for variant in files]}
        ]
    return front


def _result(task: str, dataset: str, variant: Variant) -> IndexedResult:
    accuracy = variant["accuracy"]
    value = None if accuracy is None else round(accuracy, 6)
    return {
        "task": {"type": task},
        "dataset": {"name": dataset, "type": dataset, "split": variant["split"]},
        "metrics": [{"type": "accuracy", "value": value, "name": f"accuracy, {variant['name']}"}],
    }


def _dataset_name(text: str) -> str:
    """Name a dataset that is not on the Hub; what a file is called stays with its owner."""
    return f"{text.removeprefix(SKLEARN)} of scikit-learn" if text.startswith(SKLEARN) else "a local one"


def _hub_id(text: str | None) -> str | None:
    """Give a text that is a Hub id, and None for a path, so that no path of this machine is published."""
    if text is None or not HUB_ID.fullmatch(text) or text.endswith(DATA_FILES) or Path(text).exists():
        return None
    return text
