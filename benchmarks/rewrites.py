"""What each rewrite of the exported graph is worth: p50 with all of them over p50 without one, or without any.

Run: python benchmarks/rewrites.py ../shared/models/minilm-sst2 [--seconds 20]
The folder is any text checkpoint, or `model/` of a run.
"""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from transformers import AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from compressor.graphs import rewrite
from compressor.measure import launch
from compressor.model import Source, load_model
from compressor.stages import export, quantize
from compressor.training.context import Context

REWRITES = {
    "heads side by side": lambda: patch.object(rewrite, "_join_heads_"),
    "one row of the last layer": lambda: patch.object(rewrite, "_drop_unread_rows_"),
    "sums before normalization": lambda: patch.object(rewrite, "_keep_sum_apart_"),
    "lean mask": lambda: patch.dict(AttentionMaskInterface._global_mapping, {export._ATTENTION: sdpa_mask}),
}


def main() -> None:
    """Export once for each rewrite left out, and measure all files side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--seconds", type=float, default=20.0, help="time for each length and precision")
    given = parser.parse_args()
    model = load_model(Source(checkpoint=given.checkpoint, task="text-classification"), None)
    left_out = {"all": [], **{f"without {name}": [name] for name in REWRITES}, "none": list(REWRITES)}
    with tempfile.TemporaryDirectory() as folder:
        files = {name: _export(model, Path(folder, str(i)), names) for i, (name, names) in enumerate(left_out.items())}
        for precision, file in (("fp32", "model.onnx"), ("int8", "model-int8.onnx")):
            variants = [
                {"name": name, "file": str(made / file), "precision": precision} for name, made in files.items()
            ]
            found = launch.measure({"format": 1, "variants": variants, "seconds": given.seconds, "meter": "none"})
            _print(precision, found["variants"])


def _export(model, folder, left_out):
    folder.mkdir()
    context = Context(folder, "", 0, data=None, originals=None)
    with ExitStack() as stack:
        for name in left_out:
            stack.enter_context(REWRITES[name]())
        graph = export.run(model, export.Options(stage="export"), context)
    quantize.run(graph, quantize.Options(stage="quantize"), context)
    return folder


def _print(precision, variants):
    lengths = [shape["length"] for shape in variants[0]["bench"]]
    print(f"{precision:<34}" + "".join(f"p50 at {length:<12}" for length in lengths))
    for variant in variants:
        cells = zip(variant["bench"], variants[0]["bench"], strict=True)
        print(
            f"{variant['name']:<34}"
            + "".join(f"{x['p50_ms']:.3f} ms {x['p50_ms'] / y['p50_ms']:.2f}x   " for x, y in cells)
        )


if __name__ == "__main__":
    main()
