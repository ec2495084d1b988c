"""What a run needs of memory and disk: estimated from sizes, shown by check, refused where the disk is too small."""

import gc
import shutil
import weakref
from collections import namedtuple
from typing import Any

import pytest
import torch

import compressor
from compressor.data import Dataset, open_dataset, prepare
from compressor.errors import RunDirError
from compressor.model import Source, load_model
from compressor.report import text
from compressor.training import lean, needs
from compressor.training.options import Retrain

TASK = "text-classification"
RETRAIN = {"epochs": 2, "batch_size": 16, "distill": {"hidden_states": 1.0}}
Usage = namedtuple("Usage", "free")


@pytest.fixture
def model(bert_folder):
    return load_model(Source(checkpoint=str(bert_folder), task=TASK), None)


@pytest.fixture
def split(sentences_csv, model):
    options = Dataset(dataset=str(sentences_csv), held_out=0.1)
    return prepare(open_dataset(options, TASK), options, model.task, seed=0).train


@pytest.fixture
def recipe(bert_folder, sentences_csv) -> dict[str, Any]:
    return {
        "model": {"task": TASK, "checkpoint": str(bert_folder)},
        "data": {"dataset": str(sentences_csv)},
        "stages": [{"stage": "finetune", "retrain": RETRAIN}, {"stage": "shrink"}, {"stage": "export"}],
    }


def of_phase(model, split, **settings):
    return needs.of_phase(model, Retrain(steps=1, **settings), split)


def test_a_phase_needs_four_times_the_weights_and_its_activations(model, split):
    weights = needs.n_bytes(model.net.parameters())
    one, two, three = (of_phase(model, split, batch_size=n_rows) for n_rows in (8, 16, 24))
    assert one > 4 * weights
    assert two - one == pytest.approx(three - two, abs=1)
    assert two > one


def test_what_a_large_network_does_not_keep_is_not_counted(model, split, monkeypatch):
    all_kept = of_phase(model, split)
    monkeypatch.setattr(lean, "SMALL", 0)
    fewer = all_kept - of_phase(model, split)
    activations = all_kept - 4 * needs.n_bytes(model.net.parameters())
    assert 0.2 * activations < fewer < 0.8 * activations


@pytest.mark.parametrize("limit", [0, 2**60])
def test_counting_leaves_nothing_behind(model, split, monkeypatch, limit):
    monkeypatch.setattr(lean, "SMALL", limit)
    copy = model.copy()
    of_phase(copy, split)
    weights = weakref.ref(copy.net.get_parameter("bert.embeddings.word_embeddings.weight"))
    del copy
    gc.collect()
    assert weights() is None


def test_frozen_weights_have_neither_gradients_nor_moments(model, split):
    frozen = model.net.get_parameter("bert.embeddings.word_embeddings.weight").nbytes
    fewer = of_phase(model, split) - of_phase(model, split, freeze=("*word_embeddings*",))
    assert fewer >= 3 * frozen


def test_counting_changes_nothing(model, split):
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    state, was_training = torch.get_rng_state(), model.net.training
    of_phase(model, split)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.net.training == was_training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.net.state_dict().items())
    assert all(weights.grad is None for weights in model.net.parameters())


def test_check_says_what_a_run_needs(recipe):
    plan = compressor.check(recipe)
    finetune, shrink, export = plan["stages"]
    assert finetune["temporary_bytes"] > 0
    assert shrink["temporary_bytes"] == export["temporary_bytes"] == 0
    assert finetune["memory_bytes"] > shrink["memory_bytes"]
    assert plan["needs"]["disk_bytes"] > sum(stage["disk_bytes"] for stage in plan["stages"])
    assert plan["needs"]["memory_bytes"] > 2**27  # Python and torch alone
    assert text.plan(plan).splitlines()[-1].startswith("needs about ")


def test_a_disk_that_is_too_small_is_refused_before_work(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(free=1000))
    with pytest.raises(RunDirError, match=r"the run takes about .* MB, the disk has .* MB free; free some space"):
        compressor.run(recipe, tmp_path / "run")
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["lock"]
