"""What each rewrite of the exported graph is worth, and what the graphs of transformers' own exporter take.

The p50 on one thread, and in brackets the time over that of the first file, compared as reports compare times; for
the exporters also the largest difference of a logit.

Run: python benchmarks/rewrites.py ../shared/models/minilm-sst2 [--seconds 20]
The folder is any text checkpoint, or `model/` of a run.
"""

import argparse
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from onnxruntime.quantization import QuantType
from transformers import AttentionMaskInterface
from transformers.exporters import OnnxConfig, OnnxExporter, OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer
from transformers.masking_utils import sdpa_mask

from compressor.graphs import rewrite
from compressor.measure import launch
from compressor.model import OnnxGraph, Source, load_model, logits_of
from compressor.quantizers import dynamic
from compressor.report import speed, words
from compressor.stages import export, quantize
from compressor.training.context import Context

NO_DATA: Any = None  # exporting reads none
REWRITES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "heads side by side": lambda: patch.object(rewrite, "_join_heads_"),
    "one row of the last layer": lambda: patch.object(rewrite, "_drop_unread_rows_"),
    "sums before normalization": lambda: patch.object(rewrite, "_keep_sum_apart_"),
    "lean mask": lambda: patch.dict(AttentionMaskInterface._global_mapping, {export._ATTENTION: sdpa_mask}),
}
LEFT_OUT = {"all": [], **{f"without {name}": [name] for name in REWRITES}, "none": list(REWRITES)}
THEIRS = {"transformers, CPU fusions": "cpu", "transformers, no fusions": None}
FILES = {"fp32": "model.onnx", "int8": "model-int8.onnx"}


def main() -> None:
    """Export in every way, and measure all files side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--seconds", type=float, default=20.0, help="time for each table and length")
    given = parser.parse_args()
    model = load_model(Source(checkpoint=given.checkpoint, task="text-classification"), None)
    with tempfile.TemporaryDirectory() as folder:
        ours = {name: _export(model, Path(folder, str(i)), names) for i, (name, names) in enumerate(LEFT_OUT.items())}
        theirs = {name: _export_theirs(model, Path(folder, name), kind) for name, kind in THEIRS.items()}
        for precision, file in FILES.items():
            _print(f"{precision}: rewrites", _measured(ours, precision, given.seconds), {})
            made = {"compressor": ours["all"], **theirs}
            gaps = {name: _largest_gap(model, made["compressor"] / file, other / file) for name, other in made.items()}
            _print(f"{precision}: exporters", _measured(made, precision, given.seconds), gaps)


def _export(model, folder, left_out):
    folder.mkdir()
    context = Context(folder, "", 0, data=NO_DATA, originals=None)
    with ExitStack() as stack:
        for name in left_out:
            stack.enter_context(REWRITES[name]())
        graph = export.run(model, export.Options(stage="export"), context)
    quantize.run(graph, quantize.Options(stage="quantize"), context)
    return folder


def _export_theirs(model, folder, fusions):
    """Let transformers export and quantize, the latter with the settings of our `quantize` stage."""
    folder.mkdir()
    settings = {"op_types_to_quantize": list(dynamic.OPERATORS), "per_channel": True, "weight_type": QuantType.QInt8}
    for file, quantizer in zip(
        FILES.values(), (None, OnnxRuntimeQuantizer(OnnxRuntimeDynamicConfig(**settings))), strict=True
    ):
        config = OnnxConfig(dynamic=True, ort_fusions=fusions, quantizer=quantizer)
        exported = OnnxExporter().export(model.net, _rows(model, 2, 6), config)
        OnnxExporter.save_program(exported.program, folder / file)
    return folder


def _measured(folders, precision, seconds):
    variants: list[Any] = [
        {"name": name, "file": str(folder / FILES[precision]), "precision": precision}
        for name, folder in folders.items()
    ]
    return launch.measure({"format": 1, "variants": variants, "seconds": seconds, "meter": "none"})["variants"]


def _rows(model, batch_size, length):
    """Make random inputs; the later rows end in padding."""
    generator = torch.Generator().manual_seed(length)
    return model.task.inputs.example(model.task, model.net.config, batch_size, length, generator)


def _largest_gap(model, file, other):
    logits = [logits_of(OnnxGraph(each, model.task)) for each in (file, other)]
    return max(
        float((logits[0](rows) - logits[1](rows)).abs().max())
        for rows in (_rows(model, batch_size, length) for batch_size in (1, 3) for length in (32, 128))
    )


def _print(title, variants, gaps):
    clock, note = speed.clock(variants), speed.note(variants)
    shapes = [f"p50 (ratio of {clock.title}) at {shape['length']}" for shape in variants[0]["bench"]]
    print(f"{note}\n" if note else "", end="")
    print(f"{title:<34}" + "".join(f"{shape:<30}" for shape in shapes))
    for variant in variants:
        pairs = zip(variants[0]["bench"], variant["bench"], strict=True)
        times = "".join(_time(before, entry, clock).ljust(30) for before, entry in pairs)
        gap = f"logits differ by {gaps[variant['name']]:.2g}" if gaps else ""
        print(f"{variant['name']:<34}{times}{gap}")


def _time(before, entry, clock):
    """Write the p50, and the time over that of the first file."""
    p50, factor = words.ms(entry["p50_ms"]), clock.factor(before, entry)
    return f"{p50 if clock.is_wall else speed.marked(p50)} ({1 / factor:.2f}x)"


if __name__ == "__main__":
    main()
