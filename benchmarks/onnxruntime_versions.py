"""The first onnxruntime that opens a file and computes the right numbers, by opset, IR version and operators.

Run: python benchmarks/onnxruntime_versions.py [--cache FOLDER]

A few minutes, and 1.5 GB of wheels in the folder, most of it for fetching. Each release runs every file in a process
of its own. Files made by hand are compared with onnx's reference evaluator, exports with the onnxruntime installed
here, which the export itself compared with torch.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from transformers import BertConfig, BertForSequenceClassification

from compressor.bench import sessions
from compressor.model import Model, OnnxGraph, Task
from compressor.model.checkpoint import arch_of
from compressor.stages import export, quantize
from compressor.training.context import Context

NO_DATA: Any = None  # exporting reads none
RELEASES = (
    *("1.15.0", "1.15.1", "1.16.0", "1.16.3", "1.17.0", "1.17.3", "1.18.0", "1.18.1", "1.19.0", "1.19.2", "1.20.0"),
    *("1.20.1", "1.21.0", "1.21.1", "1.22.0", "1.22.1", "1.23.0", "1.23.2", "1.24.1", "1.24.4", "1.25.0", "1.25.1"),
    *("1.26.0", "1.27.0", "1.28.0", "1.29.0", "1.30.0", "1.31.0", "1.31.1"),
)
NUMPY_2_SINCE = (1, 19)
OPSETS = range(17, 27)
IR_VERSIONS = range(8, 14)
TOLERANCE = {"fp32": 1e-5, "int8": 0.02}  # of the largest output; kernels of int8 round differently
CHILD = """
import json, sys, pathlib, numpy, onnxruntime
found = {}
for file in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
    arrays = numpy.load(file.with_suffix(".npz"))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        output = session.run(None, {each.name: arrays[each.name] for each in session.get_inputs()})[0]
        found[file.stem] = float(abs(output - arrays["expected"]).max() / abs(arrays["expected"]).max())
    except Exception as error:
        found[file.stem] = next((name for name in ("IR version", "opset") if name in str(error)), str(error))
print(json.dumps(found))
"""


def hand_made(folder: Path) -> None:
    """Write a small graph for each opset, with operators as new, and the oldest opset for each IR version."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 16)).astype(np.float32)
    weights = {"w": rng.standard_normal((16, 16)), "scale": rng.standard_normal(16), "bias": rng.standard_normal(16)}
    steps: list[tuple[int, str, list[str], dict[str, Any]]] = [
        (17, "LayerNormalization", ["x", "scale", "bias"], {}),
        (17, "MatMul", ["h0", "w"], {}),
        (17, "Erf", ["h1"], {}),
        (17, "Softmax", ["h2"], {}),
        (17, "Add", ["h3", "x"], {}),
        (20, "Gelu", ["h4"], {}),
        (23, "Attention", ["h5", "h5", "h5"], {"q_num_heads": 4, "kv_num_heads": 4}),
        (23, "RMSNormalization", ["h6", "scale"], {}),
    ]
    oldest = {opset: helper.find_min_ir_version_for([helper.make_opsetid("", opset)]) for opset in OPSETS}
    for opset, ir_version in [*oldest.items(), *((OPSETS[0], version) for version in IR_VERSIONS[1:])]:
        known = [step for step in steps if step[0] <= opset]
        nodes = [helper.make_node(kind, names, [f"h{i}"], **facts) for i, (_, kind, names, facts) in enumerate(known)]
        graph = helper.make_graph(
            nodes,
            "steps",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 6, 16])],
            [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, [2, 6, 16])],
            [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
        new = [kind for since, kind, *_ in known if since > OPSETS[0]] or ["LayerNormalization"]
        keep(folder / f"by hand, {opset}, {ir_version:02}, {' '.join(new)}, fp32", proto, {"x": x})


def exported(folder: Path) -> None:
    """Export a BERT at each opset, in fp32 and in int8."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 99, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    net = BertForSequenceClassification(BertConfig(**sizes, num_attention_heads=4)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # large everywhere, so that a wrong number shows
    tokenizer = SimpleNamespace(pad_token_id=0, save_pretrained=lambda folder: None)
    task = Task("text-classification", ("a", "b"), tokenizer, ("input_ids", "attention_mask"))
    ids = np.random.default_rng(0).integers(1, 99, (3, 16))
    inputs = {"input_ids": ids, "attention_mask": (np.arange(16) < [[16], [9], [4]]).astype(np.int64)}
    for opset in range(18, 24):
        with tempfile.TemporaryDirectory() as name:
            context = Context(Path(name), "", 0, data=NO_DATA, originals=None)
            graph = export.run(Model(net, arch_of("bert"), task), export.Options(stage="export", opset=opset), context)
            quantized = quantize.run(OnnxGraph(graph.path, task), quantize.Options(stage="quantize"), context)
            for kind, file in (("fp32", graph.path), ("int8", quantized.path)):
                proto = onnx.load(file)
                new = {node.op_type for node in proto.graph.node} & {"Attention", "Gelu", "MatMulInteger"}
                title = f"export, {opset}, {proto.ir_version:02}, {' '.join(sorted(new)) or '-'}, {kind}"
                keep(folder / title, proto, inputs)


def keep(place: Path, proto: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> None:
    """Write a file, and beside it what it is fed with and what it should answer."""
    file = place.with_name(f"{place.name}.onnx")
    onnx.save(proto, file)
    if place.name.startswith("export"):
        outputs = sessions.open_session(file, 1).run(None, inputs)
    else:
        outputs = ReferenceEvaluator(proto).run(None, inputs)
    arrays: dict[str, Any] = {"expected": outputs[0], **inputs}
    np.savez(file.with_suffix(".npz"), **arrays)


def run_with(release: str, files: Path, cache: Path) -> dict[str, float | str]:
    """Run all files in one release, fetched from the package index into a folder of its own."""
    place = cache / release
    if not place.is_dir():
        numpy = "numpy>=2,<2.3" if tuple(map(int, release.split(".")[:2])) >= NUMPY_2_SINCE else "numpy<2"
        fetch = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place)]
        subprocess.run([*fetch, f"onnxruntime=={release}", numpy], check=True)
    alone = {**os.environ, "PYTHONPATH": str(place), "ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([sys.executable, "-c", CHILD, str(files)], env=alone, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="keep the wheels here for the next time")
    with tempfile.TemporaryDirectory() as temporary:
        cache, files = parser.parse_args().cache or Path(temporary, "cache"), Path(temporary, "files")
        files.mkdir()
        hand_made(files)
        exported(files)
        found = {release: run_with(release, files, cache.resolve()) for release in RELEASES}
    print("| made | opset | IR version | operators | kind | first | relative difference there | refused before for |")
    print("| --- " * 8 + "|")
    for title in found[RELEASES[0]]:
        print(f"| {' | '.join([*title.split(', '), *row([found[release][title] for release in RELEASES], title)])} |")


def row(answers: list[float | str], title: str) -> list[str]:
    """Name the first release that is right, how right it is, and what the one before says."""
    is_right = [isinstance(answer, float) and answer <= TOLERANCE[title[-4:]] for answer in answers]
    if not any(is_right):
        return ["none", "", str(answers[-1])]
    first = is_right.index(True)
    if not all(is_right[first:]):
        raise SystemExit(f"{title}: right in {RELEASES[first]}, but not in every later release")
    return [RELEASES[first], f"{answers[first]:.0e}", str(answers[first - 1]) if first else "(the oldest)"]


if __name__ == "__main__":
    main()
