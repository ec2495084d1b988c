"""Weights alone in blocks: what the library does besides."""

import os
import subprocess
import sys

PROGRAM = """
import logging
from onnx_files import classifier
from pathlib import Path
from compressor.graphs.prepare import float_graph
from compressor.quantizers import Settings, weights
weights.quantize(float_graph(classifier(Path("model.onnx"))), Settings())
print(logging.getLogger().level, logging.getLogger().handlers)
"""


def test_the_process_prints_no_more_than_before(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "30 []"
