"""A network of timm in a recipe, through transformers' wrapper: trained, cut, exported, loaded, and cut again."""

import warnings
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import compressor

try:
    with warnings.catch_warnings(action="ignore"):  # torchvision's, where it cannot read image files
        import timm  # noqa: F401
        from transformers import TimmWrapperConfig, TimmWrapperForImageClassification
except (ImportError, RuntimeError) as error:  # the latter of a torchvision that does not fit torch
    pytest.skip(f"timm cannot be imported: {error}", allow_module_level=True)

pytestmark = pytest.mark.slow
RETRAIN = {"steps": 4, "batch_size": 16, "lr": 1e-3}
PROJECT = {"stage": "project", "widths": ["*.channels"], "column_sparsity": 0.5, "rounds": 1, "retrain": RETRAIN}
CONFIG = {
    "model_type": "timm_wrapper",
    "architecture": "resnet18",
    "image_size": 32,
    "model_args": {"in_chans": 1, "layers": [1, 1, 1, 1], "channels": [8, 12, 16, 20]},
}
RECIPE = {
    "seed": 0,
    "model": {"task": "image-classification", "config": CONFIG},
    "data": {"dataset": "sklearn:digits"},
    "stages": [{"stage": "finetune", "retrain": RETRAIN}, PROJECT, {"stage": "shrink"}, {"stage": "export"}],
}
IMAGES = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def answer(net):
    with torch.no_grad():
        return net.eval()(IMAGES).logits.numpy()


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """Run directory and report of the recipe."""
    folder = tmp_path_factory.mktemp("timm") / "run"
    return folder, compressor.run(RECIPE, folder)


def test_half_of_the_channels_go(cut):
    _, report = cut
    assert len(report["widths"]) == 9
    assert all(width["name"].endswith(".channels") for width in report["widths"])
    assert all(2 * width["n_units"] == width["n_units_original"] for width in report["widths"])


def test_the_exported_file_answers_as_the_loaded_folder(cut):
    folder, _ = cut
    net = compressor.load(folder / "02-shrink" / "model")
    session = onnxruntime.InferenceSession(folder / "03-export" / "model.onnx")
    (exported,) = session.run(["logits"], {"pixel_values": IMAGES.numpy()})
    np.testing.assert_allclose(exported, answer(net), rtol=1e-4, atol=1e-5)
    net.save_pretrained(folder.parent / "again")
    np.testing.assert_array_equal(answer(compressor.load(folder.parent / "again")), answer(net))


def test_a_cut_checkpoint_is_cut_again(cut, tmp_path):
    folder, _ = cut
    model = {"task": "image-classification", "checkpoint": str(folder / "02-shrink" / "model")}
    report = compressor.run({**RECIPE, "model": model, "stages": [PROJECT, {"stage": "shrink"}]}, tmp_path / "run")
    assert all(2 * width["n_units"] == width["n_units_original"] for width in report["widths"])


def test_a_checkpoint_with_timms_own_processor_is_trained(tmp_path):
    how = {"input_size": [1, 32, 32], "mean": [0.5], "std": [0.5], "interpolation": "bicubic", "crop_pct": 1.0}
    settings: dict[str, Any] = {"model_args": CONFIG["model_args"], "num_labels": 10, "pretrained_cfg": how}
    config = TimmWrapperConfig(architecture="resnet18", **settings)
    config.id2label = {index: str(index) for index in range(10)}
    TimmWrapperForImageClassification(config).save_pretrained(tmp_path / "timm")
    model = {"task": "image-classification", "checkpoint": str(tmp_path / "timm")}
    report = compressor.run({**RECIPE, "model": model, "stages": [PROJECT, {"stage": "shrink"}]}, tmp_path / "run")
    assert len(report["widths"]) == 9
    assert all(2 * width["n_units"] == width["n_units_original"] for width in report["widths"])
