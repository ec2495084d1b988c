"""The run as a stage sees it: a dry walk writes nothing, and seeds hang on the place alone."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from compressor import stages
from compressor.data import Dataset, open_dataset, prepare
from compressor.model import Model, Source, load_model
from compressor.plugins import discover
from compressor.recipe.schema import STAGES, wiring
from compressor.stages import Stage, finetune
from compressor.training import teacher
from compressor.training.context import Context
from compressor.training.options import Distill, Retrain
from compressor.training.remembered import AnswerFiles
from compressor.training.teacher import Originals

TASK = "text-classification"
SETTINGS: dict[str, dict[str, Any]] = {
    "drop_layers": {"n_layers": 1},
    "factorize": {"budget": 0.5},
    "finetune": {"retrain": {"steps": 1}},
    "project": {"column_sparsity": 0.5, "importance": "taylor", "retrain": {"steps": 1, "distill": {}}},
    "prune": {"column_sparsity": 0.5},
    "shrink": {},
    "trim_vocabulary": {},
}
ON_MODELS = sorted(name for name in discover(stages, Stage) if wiring(name)[1] is Model)


@pytest.fixture
def model(bert_folder):
    return load_model(Source(checkpoint=str(bert_folder), task=TASK), None)


@pytest.fixture
def context(model, sentences_csv, tmp_path):
    options = Dataset(dataset=str(sentences_csv), held_out=0.2)
    data = prepare(open_dataset(options, TASK), options, model.task, seed=0)
    return Context(tmp_path, "key", 0, data, Originals(model.copy(), model.copy, data, AnswerFiles(tmp_path, "key")))


@pytest.mark.parametrize("name", ON_MODELS)
def test_no_stage_writes_in_a_dry_walk(name, model, context, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stage = STAGES[name]
    given = stage.run(model, stage.Options(stage=name, **SETTINGS[name]), replace(context, is_dry=True))
    assert isinstance(given, Model)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_walk_does_not_train(model, context):
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    options = finetune.Options(stage="finetune", retrain=Retrain(steps=3, lr=1.0))
    finetune.run(model, options, replace(context, is_dry=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.net.state_dict().items())


def test_seeds_hang_on_folder_round_and_purpose_and_on_nothing_else(context, tmp_path):
    def drawn(context, n_rounds):
        return [(round_, torch.rand(1).item()) for round_ in context.rounds(context.originals.model, n_rounds)]

    dry = replace(context, is_dry=True)
    torch.manual_seed(1)
    first = drawn(dry, 3)
    torch.manual_seed(2)
    assert drawn(replace(dry), 3) == first
    assert drawn(replace(dry, folder=tmp_path / "other"), 1) != first[:1]
    assert drawn(replace(dry, seed=1), 1) != first[:1]
    seeds = {context.trainer.seed_for(purpose) for purpose in ("fit", "round", "look")}
    assert len(seeds) == 3


def test_a_teacher_is_on_the_device_that_trains(context, monkeypatch):
    monkeypatch.setattr(teacher, "Accelerator", lambda: SimpleNamespace(device="meta"))
    monkeypatch.setattr(teacher, "teacher_for", lambda original, *_: original)
    given = context.originals.teacher((0, 1), Retrain(steps=1, distill=Distill()))
    assert given.net.device.type == "meta"
