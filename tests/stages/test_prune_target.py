"""Targets of the stage `prune`: the units that each width keeps."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from compressor import surgery
from compressor.data import Dataset, open_dataset, prepare
from compressor.files import read_json
from compressor.model import Source, load_model
from compressor.model.outputs import n_flops
from compressor.stages import prune, shrink
from compressor.training.context import Context
from compressor.training.remembered import AnswerFiles
from compressor.training.shipping import Shipping
from compressor.training.teacher import Originals

TASK = "text-classification"
POINTS: Any = {"batch_sizes": [1], "lengths": [8, 16], "threads": [1]}


@pytest.fixture
def model(bert_folder):
    return load_model(Source(checkpoint=str(bert_folder), task=TASK), None)


@pytest.fixture
def context(sentences_csv, model, tmp_path):
    chosen = Dataset(dataset=str(sentences_csv), held_out=0.2)
    data = prepare(open_dataset(chosen, TASK), chosen, model.task, seed=0)
    originals = Originals(model.copy(), model.copy, data, AnswerFiles(tmp_path, "key"))
    shipping = Shipping(POINTS, None, "fp32", [])
    return Context(tmp_path, "key", 0, data, originals, label="prune", shipping=shipping)


def options(**settings: Any) -> prune.Options:
    return prune.Options(**{"stage": "prune", "calibration": {"examples": 32}, **settings})


@pytest.mark.parametrize(("criterion", "allocate"), [("hessian", "loss"), ("fisher", "score")])
@pytest.mark.parametrize("rounds", [1, 2])
def test_the_cut_network_has_the_flops_that_were_asked_for(model, context, criterion, allocate, rounds):
    before = [n_flops(model, 1, length) for length in POINTS["lengths"]]
    asked = options(target={"n_flops_ratio": 0.7}, criterion=criterion, allocate=allocate, rounds=rounds)
    pruned = prune.run(model, asked, context)
    left = {width.name: width.size - int(surgery.dead_units(pruned.net, width).sum()) for width in pruned.widths()}
    chosen = read_json(context.folder / "target.json")["widths"]
    assert {name: left[name] for name in chosen} == chosen
    cut = shrink.run(pruned, shrink.Options(stage="shrink"), context)
    after = [n_flops(cut, 1, length) for length in POINTS["lengths"]]
    ratios = [new / old for new, old in zip(after, before, strict=True)]
    assert max(ratios) <= 0.7 * 1.005
    assert max(ratios) > 0.55  # steps are large in so small a network, and some units do no damage at all


def test_what_matters_least_goes(model, context):
    """A width that nothing downstream depends on is emptied before one that it does."""
    with torch.no_grad():
        model.net.bert.encoder.layer[0].output.dense.weight.mul_(1e-4)
    asked = options(target={"n_params_ratio": 0.9}, widths=["*.ffn"], criterion="fisher", allocate="score")
    prune.run(model, asked, context)
    chosen = read_json(context.folder / "target.json")["widths"]
    assert chosen["layer.0.ffn"] < chosen["layer.1.ffn"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "give one of 'column_sparsity' and 'target'"),
        ({"target": {"n_flops_ratio": 0.5}, "column_sparsity": 0.5}, "give one of 'column_sparsity' and 'target'"),
        ({"target": {"n_flops_ratio": 0.5}, "allocate": "uniform"}, "take allocate: score or loss"),
        (
            {"target": {"n_flops_ratio": 0.5}, "criterion": "movement", "retrain": {"steps": 1}},
            "is trained towards a sparsity; give 'column_sparsity'",
        ),
    ],
)
def test_what_does_not_go_with_a_target_is_refused(settings, said):
    with pytest.raises(ValidationError, match=said):
        options(**settings)
