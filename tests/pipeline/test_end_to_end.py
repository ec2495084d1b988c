"""A small recipe from start to end: what it leaves, and that running again, Ctrl-C and kills do no harm."""

import json
import signal
import subprocess
import sys
import time

import pytest
import tiny

RETRAIN = {"steps": 12, "batch_size": 16, "lr": 1e-3, "distill": {"logits": 0.7, "hidden_states": 1.0}}
RECIPE = {
    "seed": 3,
    "model": {
        "task": "image-classification",
        "config": {"model_type": "vit", **tiny.VIT, "hidden_dropout_prob": 0.1},
    },
    "data": {"dataset": "sklearn:digits"},
    "stages": [
        {"stage": "finetune", "retrain": {**RETRAIN, "steps": 40, "distill": None}},
        {"stage": "project", "column_sparsity": 0.5, "importance": "taylor", "rounds": 3, "retrain": RETRAIN},
        {"stage": "shrink"},
        {"stage": "finetune", "retrain": {**RETRAIN, "steps": 30}},
    ],
}
pytestmark = pytest.mark.xdist_group("end_to_end")  # they share one run

# The command with saves so frequent that a kill falls between two of them.
COMMAND = """
import sys
import compressor.training.journal
compressor.training.journal.SECONDS_BETWEEN_SAVES = 0.05
from compressor.cli import main
sys.exit(main(sys.argv[1:]))
"""


def start(recipe, run_dir):
    command = [sys.executable, "-c", COMMAND, "--recipe", recipe, "--run-dir", run_dir, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for(file, process):
    while not file.exists() and process.poll() is None:
        time.sleep(0.02)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    file = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    file.write_text(json.dumps(RECIPE))
    return file


@pytest.fixture(scope="module")
def undisturbed(recipe, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    process = start(recipe, run_dir)
    out, err = process.communicate()
    assert process.returncode == 0, err.decode()
    return run_dir, json.loads(out)


def test_layers_shrink_and_the_report_says_so(undisturbed):
    run_dir, report = undisturbed
    widths = [width for width in report["widths"] if width["name"].endswith((".heads", ".ffn"))]
    assert {width["n_units"] for width in widths} == {2, 12}
    assert {width["n_units_original"] for width in widths} == {4, 24}
    assert [stage["name"] for stage in report["stages"]] == ["finetune", "project", "shrink", "finetune"]
    n_params = [stage["n_params"] for stage in report["stages"]]
    assert n_params[0] == n_params[1] > n_params[2] == n_params[3]
    assert report["stages"][1]["column_sparsity"] == 0.5
    assert (run_dir / "report" / "index.html").exists()


@pytest.mark.slow
def test_running_again_does_nothing_and_changes_nothing(recipe, undisturbed):
    run_dir, report = undisturbed
    before = {file: file.stat().st_mtime_ns for file in run_dir.rglob("model.safetensors")}
    process = start(recipe, run_dir)
    out, err = process.communicate()
    assert process.returncode == 0, err.decode()
    assert json.loads(out)["widths"] == report["widths"]
    assert {file: file.stat().st_mtime_ns for file in run_dir.rglob("model.safetensors")} == before


def test_ctrl_c_says_how_to_resume(recipe, tmp_path):
    process = start(recipe, tmp_path / "run")
    wait_for(tmp_path / "run" / "00-finetune", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert b"resume with: compress --recipe" in err


@pytest.mark.slow
def test_a_run_that_was_killed_twice_ends_in_the_same_bits(recipe, undisturbed, tmp_path):
    """Real signals, in a phase and between rounds; `test_kills.py` has every write."""
    run_dir = tmp_path / "run"
    for file in ("00-finetune/step.json", "01-project/round.json"):
        process = start(recipe, run_dir)
        wait_for(run_dir / file, process)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"it ended before {file} was there"
    process = start(recipe, run_dir)
    _, err = process.communicate()
    assert process.returncode == 0, err.decode()
    for file in ("01-project/rounds.jsonl", "03-finetune/rounds.jsonl", "03-finetune/model/model.safetensors"):
        assert (run_dir / file).read_bytes() == (undisturbed[0] / file).read_bytes(), file
