"""Measure, gate and inspect the ONNX files of other projects: text in images, voice activity, kinds of files.

Run: python tests/interop/check_foreign.py

The wheels are downloaded by the pip of an environment of its own, and none is installed. The check ends with 77 where
they cannot be had, and with 1 if a command fails.
"""

import contextlib
import io
import json
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

import numpy as np

from compressor import cli

HERE = Path(__file__).resolve()
SKIPPED = 77
FEWEST = 10_000  # parameters of a network that somebody uses
BRIEF = ["--meter", "none", "--seconds", "0.2"]
ITSELF = ["--margin", "100%", "--budget", "2s", "--inconclusive", "pass", "--max-difference", "0", "--max-bytes", "0%"]
SOUND = ["--inputs", "sound.npz"]
SIZES = {
    "ch_PP-OCRv4_det_infer.onnx": ["--shape", "x=1x3x320x320"],
    "ch_PP-OCRv4_rec_infer.onnx": ["--shape", "x=2x3x48x320"],
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": ["--shape", "x=1x3x48x192"],
    "silero_vad.onnx": SOUND,
    "silero_vad_16k_op15.onnx": [*SOUND, "--batch-size", "3"],
    "silero_vad_half.onnx": ["--shape", "input=1x576"],
    "silero_vad_op18_ifless.onnx": SOUND,
    "silero_vad_16k_sequence.onnx": ["--batch-size", "30"],
}
"""What a user has to say of a file; nothing for those whose sizes are fixed."""


def main():
    """Download the wheels, take the ONNX files out of them, and try each command on each file."""
    with tempfile.TemporaryDirectory(prefix="foreign-") as name, contextlib.chdir(name):
        venv.create("environment", with_pip=True)
        download = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", "wheels"]
        wanted = ["--requirement", str(HERE.with_name("foreign.txt"))]
        if subprocess.run([Path("environment/bin/python"), *download, *wanted], check=False).returncode:
            return SKIPPED
        files = sorted(file for wheel in Path("wheels").iterdir() for file in graphs(wheel))
        samples = np.random.default_rng(0).standard_normal((3, 576), dtype=np.float32)
        np.savez("sound.npz", input=samples, state=np.zeros((2, 3, 128), np.float32), sr=np.int64(16_000))
        faults = [fault for file in files for fault in faults_of(file)]
    sys.stdout.write("\n".join([*faults, f"{len(files)} files, {len(faults)} faults\n"]))
    return 1 if faults or set(SIZES) - {file.name for file in files} else 0


def graphs(wheel):
    """Extract the ONNX files of a wheel; its own folders keep them apart."""
    with zipfile.ZipFile(wheel) as archive:
        return [Path(archive.extract(name)) for name in archive.namelist() if name.endswith(".onnx")]


def faults_of(file):
    """Try the commands on one file and yield what is wrong with their answers."""
    sizes = SIZES.get(file.name, [])
    if "--inputs" in sizes or "--shape" in sizes:
        code, said, _ = compress("bench", file, *BRIEF)
        if code != 2 or "give --shape" not in said:
            yield f"{file}: bench without a size ends with {code}: {said}"
    for arguments, is_right in (
        (["inspect", file], lambda found: found["n_params"] > FEWEST and are_sizes(found)),
        (["bench", file, *sizes, *BRIEF], lambda found: found["variants"][0]["bench"][0]["p50_ms"] > 0),
        (["gate", file, "--baseline", file, *sizes, *ITSELF], lambda found: found["verdict"] != "regression"),
    ):
        code, said, answer = compress(*arguments)
        if code or not is_right(answer):
            yield f"{file}: {arguments[0]} ends with {code}: {said}"


def are_sizes(found):
    """Whether the axes of all inputs are sizes, names, or open; some exporters write -1."""
    return all(isinstance(size, str | None) or size >= 0 for each in found["inputs"] for size in each["shape"])


def compress(*arguments):
    """Run a command in this process; give its exit code, its last line on stderr, and its answer."""
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        code = cli.main([*map(str, arguments), "--json"])
    return code, said.getvalue().strip().rpartition("\n")[2], json.loads(out.getvalue())


if __name__ == "__main__":
    sys.exit(main())
