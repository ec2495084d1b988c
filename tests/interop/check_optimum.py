"""Open exported folders in optimum's ORTModel classes and compare their logits with those of plain onnxruntime.

Run: python tests/interop/check_optimum.py runs/sst2_l1inf/02-export runs/sst2_l1inf/03-quantize

optimum's ONNX package needs transformers < 4.58, so the check builds an environment of its own, runs itself in there,
and ends with 77 where the packages cannot be had.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve()
INSIDE = "--inside"
SKIPPED = 77


def main(folders):
    """Build the environment and check each folder in it."""
    with tempfile.TemporaryDirectory(prefix="optimum-") as environment:
        venv.create(environment, with_pip=True)
        python = Path(environment, "bin", "python")
        install = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--requirement",
            str(HERE.with_name("requirements.txt")),
        ]
        if subprocess.run(install, check=False).returncode:
            return SKIPPED
        return max(subprocess.run([python, HERE, INSIDE, folder], check=False).returncode for folder in folders)


def check(folder):
    """Compare logits under padding, and let a pipeline read a text with the tokenizer of the folder."""
    import numpy as np
    import onnxruntime
    from optimum.onnxruntime import ORTModelForImageClassification, ORTModelForSequenceClassification
    from transformers import AutoTokenizer, pipeline

    session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
    if session.get_inputs()[0].name == "pixel_values":
        model = ORTModelForImageClassification.from_pretrained(folder)
        shape = [2, *session.get_inputs()[0].shape[1:]]
        inputs = {"pixel_values": np.random.default_rng(0).standard_normal(shape, dtype=np.float32)}
    else:
        model = ORTModelForSequenceClassification.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        inputs = dict(tokenizer(["a bright and moving film", "dull"], padding=True, return_tensors="np"))
        (answer,) = pipeline("text-classification", model=model, tokenizer=tokenizer)("a bright and moving film")
        assert answer["label"] in model.config.label2id, answer
    expected = session.run(["logits"], {node.name: inputs[node.name] for node in session.get_inputs()})[0]
    np.testing.assert_allclose(model(**inputs).logits, expected, rtol=1e-6, atol=1e-6)
    sys.stdout.write(f"{folder}: {type(model).__name__} gives the logits of onnxruntime\n")


if __name__ == "__main__":
    if sys.argv[1] == INSIDE:
        check(sys.argv[2])
    else:
        sys.exit(main(sys.argv[1:]))
