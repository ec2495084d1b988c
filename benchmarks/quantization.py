"""Every way to quantize the files of a finished run: accuracy, bytes, time, and whether a batch changes an answer.

``python benchmarks/quantization.py runs/sst2_l1inf`` quantizes the original's float file and the result's. Times are
processor times on one thread, of all files in turns; they are given over that of dynamic int8.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from compressor.bench.host import cpu
from compressor.data.batches import metrics
from compressor.errors import CompressorError
from compressor.model.artifact import OnnxGraph
from compressor.model.outputs import logits_of
from compressor.model.quiet import quantizer_quiet
from compressor.pipeline.start import begin
from compressor.recipe import load_recipe
from compressor.stages.quantize import Options, work_of

MODES: dict[str, dict[str, Any]] = {
    "dynamic": {},
    "dynamic, 4-bit file": {"embeddings": "int4", "storage_bits": 4},
    "static": {"mode": "static"},
    "static, percentile": {"mode": "static", "ranges": "percentile"},
    "static, entropy": {"mode": "static", "ranges": "entropy"},
    "static, mse": {"mode": "static", "ranges": "mse"},
    "static, 4-bit file": {"mode": "static", "embeddings": "int4", "storage_bits": 4},
    "weights, 8 bits": {"mode": "weights", "bits": 8},
    "weights, 4 bits": {"mode": "weights"},
}
N_ROWS, N_ROUNDS, N_RUNS, N_BATCHED = 128, 30, 5, 200


def main():
    """Make, judge and time the files, and print a table for each of the two float files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path, help="directory of a finished run")
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1])
    parser.add_argument("--out", type=Path, default=Path("runs/quantization"))
    arguments = parser.parse_args()
    start = begin(load_recipe(arguments.run / "recipe.yaml"))
    rows = list(calibration(start))
    points = [(size, length) for size in arguments.batch_sizes for length in arguments.lengths]
    found = {}
    for title, file in (("original", arguments.run / "original/model.onnx"), ("result", exported(arguments.run))):
        files = quantized(file, rows, arguments.out / title)
        found[title] = table(files, start, points)
        (arguments.out / "quantization.json").write_text(json.dumps(found, indent=1))
        show(title, found[title], points)
    print(f"\n{cpu()['model']}, onnxruntime {onnxruntime.__version__}, {N_ROWS} calibration rows")


def exported(run):
    """Give the last float file of a run."""
    return sorted(run.glob("[0-9][0-9]-export/model.onnx"))[-1]


def calibration(start):
    """Yield training rows one at a time, without padding."""
    generator = torch.Generator().manual_seed(0)
    for row in torch.randperm(len(start.data.train), generator=generator)[:N_ROWS]:
        yield {name: each.numpy() for name, each in start.data.train.batch(row[None]).items() if name != "labels"}


def quantized(file, rows, folder):
    """Make the file of each mode; one that cannot be made is left out, with its reason."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"fp32": file}
    for name, settings in MODES.items():
        path = folder / f"{name.replace(', ', '-').replace(' ', '-')}.onnx"
        try:
            with quantizer_quiet():
                work_of(file, Options(stage="quantize", **settings), rows).save(path)
        except CompressorError as error:
            print(f"{name}: {error}")
            continue
        files[name] = path
    return files


def table(files, start, points):
    """Judge every file on the reported split, one row at a time, and time it."""
    graphs = {name: OnnxGraph(file, start.model.task) for name, file in files.items()}
    times = timed(files, start.model, points)
    return {
        name: {
            **metrics(start.model.task, logits_of(graph, 1), start.data.report, 1),
            "size_bytes": files[name].stat().st_size,
            "speed": times[name],
            "batch_changes": batch_changes(graph, start.data.report),
        }
        for name, graph in graphs.items()
    }


def batch_changes(graph, split):
    """Largest difference of a logit alone and in a padded batch of 8."""
    logits, largest = logits_of(graph, 1), 0.0
    for first in range(0, min(N_BATCHED, len(split)), 8):
        rows = torch.arange(first, first + 8)
        alone = torch.cat([logits(split.batch(row[None])) for row in rows])
        largest = max(largest, float((logits(split.batch(rows)) - alone).abs().max()))
    return largest


def timed(files, model, points):
    """Median ratio of dynamic int8's time to each file's, at each point."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 4
    sessions = {name: onnxruntime.InferenceSession(file, settings) for name, file in files.items()}
    speeds: dict[str, list[float]] = {name: [] for name in files}
    for size, length in points:
        generator = torch.Generator().manual_seed(0)
        example = model.task.inputs.example(model.task, model.net.config, size, length, generator)
        feed = {name: each.numpy() for name, each in example.items()}
        runs: dict[str, list[float]] = {name: [] for name in files}
        for _ in range(N_ROUNDS):
            for name, session in sessions.items():
                taken = {each.name: feed[each.name] for each in session.get_inputs()}
                session.run(None, taken)
                began = time.thread_time()
                for _ in range(N_RUNS):
                    session.run(None, taken)
                runs[name].append(time.thread_time() - began)
        for name, own in runs.items():
            speeds[name].append(statistics.median(np.array(runs["dynamic"]) / np.array(own)))
    return speeds


def show(title, rows, points):
    """Print the table of one float file."""
    heads = " | ".join(f"{size} x {length}" for size, length in points)
    print(f"\n| {title} | accuracy | MiB | speed over dynamic, {heads} | alone against batch |")
    print(f"|---|---|---|{'---|' * len(points)}---|")
    for name, row in rows.items():
        speeds = " | ".join(f"{speed:.2f}" for speed in row["speed"])
        accuracy = row["accuracy"]
        print(f"| {name} | {accuracy:.4f} | {row['size_bytes'] / 2**20:.2f} | {speeds} | {row['batch_changes']:.2g} |")


if __name__ == "__main__":
    main()
