"""Laws that every file in compressor/tasks obeys, on a tiny network from random weights to the report and back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import sklearn.datasets
import torch
from PIL import Image
from task_runs import RECIPES, labelled_rows, measure_briefly

import compressor
from compressor.cli import main
from compressor.model.checkpoint import has_head
from compressor.tasks import TaskFile, inputs_of, task_file, task_files, usual_name

TASKS = list(task_files())
SIZES = [(1, 5), (3, 9)]
USERS = {  # what a user has who runs the card's snippet
    "text-classification": dict,
    "image-classification": lambda: {"image": Image.new("L", (8, 8))},
    "tabular-classification": lambda: {"frame": sklearn.datasets.load_wine(as_frame=True).data[:1]},
}


@pytest.fixture(scope="module", params=TASKS)
def walked(request, tmp_path_factory, bert_folder, sentences_csv):
    """A finished run of the task: fine-tuned, projected, shrunk, exported, quantized, measured, reported."""
    folder = tmp_path_factory.mktemp("walk")
    recipe = RECIPES[request.param](bert_folder, sentences_csv)
    with pytest.MonkeyPatch.context() as patch:
        measure_briefly(patch)
        report = compressor.run(recipe, folder / "run")
    return request.param, folder / "run", report


@pytest.mark.parametrize("name", TASKS)
def test_a_file_states_everything_that_the_protocol_asks_for(name):
    file: Any = task_file(name)  # a module
    stated = {word for word in (*TaskFile.__annotations__, *vars(TaskFile)) if not word.startswith("_")}
    assert {word for word in stated if not hasattr(file, word)} == set()
    assert usual_name(name) == name
    assert name.replace("-", "_") == file.__name__.rpartition(".")[2]


@pytest.mark.parametrize("name", TASKS)
def test_its_main_input_leads_back_to_what_it_reads(name):
    assert inputs_of(task_file(name).INPUTS.NAMES[0]) is task_file(name).INPUTS


def test_an_unknown_task_gets_the_nearest_name():
    with pytest.raises(ValueError, match="no such task; did you mean 'text-classification'"):
        usual_name("text-clasification")


@pytest.mark.parametrize("name", TASKS)
def test_the_loss_falls_when_the_answers_get_better_and_ignores_rows_without_a_label(name):
    file, labels = task_file(name), torch.tensor([0, 1, 1])
    right = torch.nn.functional.one_hot(labels, 2).float()
    good, bad = ({"logits": sign * 3 * right} for sign in (1, -1))
    assert file.loss(good, labels) < file.loss(bad, labels)
    torch.testing.assert_close(file.loss(bad, labels, 0.5), file.loss(bad, labels) / 2)
    assert file.loss(bad, torch.full((3,), -100)) == 0
    assert file.metrics(good["logits"], labels)[file.SCORE] == 1
    assert file.metrics(bad["logits"], labels)[file.SCORE] == 0


def test_inputs_whose_values_do_not_matter_are_valid(walked):
    name, run, _ = walked
    session = onnxruntime.InferenceSession(run / "original/model.onnx")
    net = compressor.load(run / "00-finetune/model")
    inputs = inputs_of(net.main_input_name)
    for batch_size, length in SIZES:
        plain = inputs.plain(net.config, batch_size, length)
        with torch.no_grad():
            assert net(**plain).logits.shape == (batch_size, net.config.num_labels)
    assert {node.name for node in session.get_inputs()} <= set(inputs.NAMES)
    assert session.get_outputs()[0].name == task_file(name).OUTPUT_NAMES[0]


def test_the_score_of_every_file_is_what_few_lines_find(walked):
    name, run, report = walked
    rows, labels = labelled_rows(name, run, report)
    for variant in report["variants"]:
        session = onnxruntime.InferenceSession(run / variant["file"])
        taken = [node.name for node in session.get_inputs()]
        answers = [session.run(["logits"], {key: row[key] for key in taken})[0].argmax(axis=-1).item() for row in rows]
        assert np.mean(np.array(answers) == labels) == pytest.approx(variant["accuracy"])
        assert variant["n_examples"] == len(labels)


def test_the_network_is_smaller_and_loads_back(walked):
    name, run, report = walked
    net = compressor.load(run / "02-shrink/model")
    before = compressor.load(run / "00-finetune/model")
    assert sum(map(torch.numel, net.parameters())) < sum(map(torch.numel, before.parameters()))
    assert has_head(net.config, name)
    assert [stage["name"] for stage in report["stages"]] == ["finetune", "project", "shrink", "export", "quantize"]


def test_the_card_says_how_the_file_is_used(walked):
    name, run, _ = walked
    card = (run / "04-quantize/README.md").read_text()
    code = task_file(name).snippet("model.onnx")
    assert code in card
    given = USERS[name]()
    exec(code.replace("path/to/this/folder", str(run / "04-quantize")), given)
    assert given["logits"].shape == (1, compressor.load(run / "02-shrink/model").config.num_labels)
    assert f"pipeline_tag: {name}" in card


def test_the_bench_the_gate_and_the_report_take_its_files(walked, capsys):
    _, run, report = walked
    file = str(run / "04-quantize/model.onnx")
    options = ["--length", "5", "--json"]
    assert main(["bench", file, "--seconds", "0.1", "--meter", "none", *options]) == 0
    assert json.loads(capsys.readouterr().out)["variants"][0]["bench"]
    assert main(["gate", file, "--baseline", file, "--budget", "0.5s", "--inconclusive", "pass", *options]) == 0
    capsys.readouterr()
    assert main(["report", str(run), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["variants"] == json.loads(json.dumps(report["variants"]))


def test_a_finished_run_is_not_run_again(walked):
    _, run, _ = walked
    done = (run / "04-quantize/done.json").stat().st_mtime_ns
    compressor.run(compressor.load_recipe(Path(run) / "recipe.yaml"), run)
    assert (run / "04-quantize/done.json").stat().st_mtime_ns == done
