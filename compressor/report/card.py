"""Model cards: the README.md that makes a folder complete for the Hub and for whoever finds it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from compressor.files import write_text
from compressor.report import compare, joules, words

Facts = Mapping[str, Any]
Kind = Literal["model", "onnx"]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
DATA_FILES = (".csv", ".json", ".jsonl", ".parquet")


def write_card(folder: Path, report: Facts, kind: Kind) -> None:
    """Write ``README.md`` into a folder that a stage left: a reloadable model, or an ONNX file with its processor.

    Parameters
    ----------
    folder : Path
        ``NN-stage/model`` for a model, ``NN-stage`` for ONNX.
    report : mapping
        What `page.write` returned.
    kind : "model" or "onnx"
        How the folder is loaded.
    """
    stage = _stage(folder, report, kind)
    files = [variant for variant in report["variants"] if Path(variant["file"]).parent.name == folder.name]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    body = environment.get_template("card.md.j2").render(
        report=report,
        words=words,
        joules=joules,
        kind=kind,
        stage=stage,
        source=_hub_id(report["recipe"]["model"]["checkpoint"]),
        dataset=_hub_id(report["recipe"]["data"]["dataset"]),
        task=report["recipe"]["model"]["task"],
        features=stage["features"],
        removed=removed(stage["widths"]),
        file=Path(files[0]["file"]).name if files else "model.onnx",
        is_quantized=any(variant["quantized"] for variant in files),
        shapes=compare.shapes(report["variants"]),
        at=compare.entry_at,
    )
    front = yaml.safe_dump(_front_matter(report, kind, files), sort_keys=False, allow_unicode=True)
    write_text(folder / "README.md", f"---\n{front}---\n\n{body}")


def removed(widths: Sequence[Facts]) -> list[str]:
    """Say what is gone, a line for the layers and one for each kind of unit."""
    by_layer: dict[str, list[Facts]] = {}
    by_kind: dict[str, list[Facts]] = {}
    for width in widths:
        layer, _, kind = width["name"].rpartition(".")
        if layer.rpartition(".")[2].isdigit():
            by_layer.setdefault(layer, []).append(width)
        if not width["is_removed"]:
            by_kind.setdefault(kind, []).append(width)
    gone = [layer for layer, found in by_layer.items() if all(width["is_removed"] for width in found)]
    lines = [f"whole layers: {', '.join(gone)} ({len(gone)} of {len(by_layer)})"] if gone else []
    for kind, found in by_kind.items():
        before, after = (_range([width[key] for width in found]) for key in ("n_units_original", "n_units"))
        if before != after:
            where = "" if found[0]["name"] == kind else f" in each layer{' that stays' if gone else ''}"
            lines.append(f"{kind}: {after} left of {before}{where}")
    return lines


def _range(sizes: Sequence[int]) -> str:
    low, high = min(sizes), max(sizes)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _stage(folder: Path, report: Facts, kind: Kind) -> Facts:
    name = folder.parent.name if kind == "model" else folder.name
    found: Facts = next(stage for stage in report["stages"] if stage["folder"] == name)
    return found


def _front_matter(report: Facts, kind: Kind, files: Sequence[Facts]) -> dict[str, Any]:
    """Collect what the Hub reads; the licence is the checkpoint's, which a run does not know."""
    task, source = report["recipe"]["model"]["task"], _hub_id(report["recipe"]["model"]["checkpoint"])
    dataset = _hub_id(report["recipe"]["data"]["dataset"])
    tags = ["compressor", "pruned", *(["onnx"] if kind == "onnx" else [])]
    if any(variant["quantized"] for variant in files):
        tags.append("int8")
    front: dict[str, Any] = {
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
        front["model-index"] = [{"name": report["name"], "results": [_result(task, dataset, each) for each in files]}]
    return front


def _result(task: str, dataset: str, variant: Facts) -> dict[str, Any]:
    return {
        "task": {"type": task},
        "dataset": {"name": dataset, "type": dataset, "split": variant["split"]},
        "metrics": [
            {"type": "accuracy", "value": round(variant["accuracy"], 6), "name": f"accuracy, {variant['name']}"}
        ],
    }


def _hub_id(text: str | None) -> str | None:
    """Tell a Hub id from a path, so that no path of this machine is published."""
    if text is None or not HUB_ID.fullmatch(text) or text.endswith(DATA_FILES) or Path(text).exists():
        return None
    return text
