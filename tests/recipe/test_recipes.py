"""The packaged recipes do what they promise, as a user runs them."""

import json
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
from safetensors.torch import load_file

import compressor


def compress(*arguments, cwd=None):
    """Run the command; return its exit code, its line of JSON and its stderr."""
    command = [sys.executable, "-m", "compressor.cli", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    assert done.stdout.count("\n") == 1, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.slow
def test_the_quick_start_keeps_its_promise(tmp_path):
    code, report, err = compress("--recipe", "digits_l1inf.yaml", cwd=tmp_path)
    assert code == 0, err
    cut = [width for width in report["widths"] if width["name"].endswith((".heads", ".ffn"))]
    assert len(cut) == 8
    assert all(width["n_units"] < width["n_units_original"] for width in cut)
    original, result = (each for each in report["variants"] if each["quantized"])
    assert result["accuracy"] >= original["accuracy"] - 0.015
    assert result["size_bytes"] < 0.6 * original["size_bytes"]
    assert (tmp_path / "runs/digits_l1inf/report/index.html").exists()
    net = compressor.load(tmp_path / "runs/digits_l1inf/03-finetune/model")
    assert sum(p.numel() for p in net.parameters()) == result["n_params"]


@pytest.mark.slow
def test_the_autoencoder_reads_fewer_pixels(tmp_path):
    code, report, err = compress("--recipe", "digits_autoencoder_l1inf.yaml", cwd=tmp_path)
    assert code == 0, err
    original, kept = report["features"]["original"], report["features"]["kept"]
    assert (len(original), len(kept)) == (64, 26)
    run = tmp_path / "runs/digits_autoencoder_l1inf"
    assert f"Of the 64 features of a row it reads 26: {', '.join(kept)}." in (run / "04-export/README.md").read_text()
    assert (run / "report/index.html").read_text().count('class="kept"') == 26
    session = onnxruntime.InferenceSession(run / "04-export/model.onnx")
    assert [(each.name, each.shape) for each in session.get_inputs()] == [("features", ["batch", 64])]
    assert [each.shape[1] for each in session.get_outputs()] == [10, 64]  # the whole image is reconstructed


@pytest.fixture(scope="module")
def flagship(shared, tmp_path_factory):
    """The flagship with few steps, on real sentences: its run directory and its report."""
    run_dir = tmp_path_factory.mktemp("flagship") / "run"
    settings = {
        "model.checkpoint": shared / "models/minilm-sst2",
        "data.dataset": shared / "data/sst2",
        "data.augment": "null",
        "data.held_out": 0.005,
        "stages[1].rounds": 2,
        "stages[1].retrain.steps": 20,
        "stages[3].retrain.steps": 100,
        "gates.max_accuracy_drop": 0.3,
        "gates.max_p50_ratio": "null",  # timings are for benchmarks
    }
    overrides = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    code, report, err = compress("--recipe", "sst2_l1inf.yaml", *overrides, "--run-dir", run_dir)
    assert code == 0, err
    return run_dir, report


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.xdist_group("flagship")
def test_the_flagship_walks_on_real_sentences(flagship):
    run_dir, report = flagship
    variants = {each["name"]: each for each in report["variants"]}
    assert variants["original fp32"]["accuracy"] == pytest.approx(780 / 872)
    assert variants["original int8"]["accuracy"] > 0.88
    assert variants["compressed int8"]["accuracy"] > 0.7
    assert variants["compressed int8"]["n_examples"] == 872
    removed = [width["name"] for width in report["widths"] if width["n_units"] == 0]
    assert {name.rpartition(".")[0] for name in removed} == {"layer.1", "layer.3", "layer.4"}
    assert len([name for name in removed if name.endswith((".heads", ".ffn"))]) == 6
    lines = (run_dir / "02-shrink/rounds.jsonl").read_text().splitlines()
    assert 0 <= json.loads(lines[-1])["largest_error"] <= 1e-5


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.xdist_group("flagship")
def test_optimum_opens_the_exported_folders(flagship):
    run_dir, _ = flagship
    script = Path(__file__).parents[1] / "interop/check_optimum.py"
    done = subprocess.run([sys.executable, script, run_dir / "04-export", run_dir / "05-quantize"], check=False)
    if done.returncode == 77:
        pytest.skip("the packages of optimum's environment cannot be had here")
    assert done.returncode == 0


@pytest.mark.slow
def test_fine_tuning_walks_from_an_encoder_without_a_head(shared, tmp_path):
    encoder = _headless(shared / "models/minilm-sst2", tmp_path / "encoder")
    settings = ["--set", f"model.checkpoint={encoder}", "--set", f"data.dataset={shared / 'data/sst2'}"]
    short = ["--set", "stages[0].retrain={steps: 30, lr: 1.0e-3}"]
    code, report, err = compress("--recipe", "sst2_finetune.yaml", *settings, *short, "--run-dir", tmp_path / "run")
    assert code == 0, err
    assert {each["n_examples"] for each in report["variants"]} == {872}
    n_right = 872 * report["variants"][0]["accuracy"]
    assert n_right == pytest.approx(round(n_right))
    net = compressor.load(tmp_path / "run/00-finetune/model")
    assert net.config.id2label == {0: "negative", 1: "positive"}
    before = load_file(encoder / "model.safetensors")["encoder.layer.0.output.dense.weight"]
    after = net.get_parameter("bert.encoder.layer.0.output.dense.weight").detach()
    assert 0 < float((after - before).norm()) < float(before.norm()), "it started from the encoder's weights"


@pytest.mark.slow
@pytest.mark.shared
def test_a_small_resnet_walks_on_real_images(shared, tmp_path):
    settings = {
        "data.dataset": shared / "data/cifar10",
        "stages[0].retrain.steps": 20,
        "stages[1].rounds": 2,
        "stages[1].retrain.steps": 5,
        "stages[3].retrain.steps": 20,
        "gates": "{}",
    }
    overrides = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    code, report, err = compress("--recipe", "cifar10_resnet_l1inf.yaml", *overrides, "--run-dir", tmp_path / "run")
    assert code == 0, err
    variants = {each["name"]: each for each in report["variants"]}
    original, result = variants["original fp32"], variants["compressed fp32"]
    assert result["n_params"] < 0.4 * original["n_params"]
    assert result["n_flops"]["1"] < 0.45 * original["n_flops"]["1"]  # of one image
    assert {each["n_examples"] for each in report["variants"]} == {10_000}


def _headless(checkpoint: Path, folder: Path) -> Path:
    """Save a randomly initialized encoder of the same shape, without a head, with the same tokenizer."""
    from transformers import AutoConfig, AutoTokenizer, BertModel

    BertModel(AutoConfig.from_pretrained(checkpoint)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)
    return folder
