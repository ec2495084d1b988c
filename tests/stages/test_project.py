"""Projection stage: how many columns die, which ones, and what the options refuse."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from pydantic import ValidationError

from compressor import surgery
from compressor.data import Dataset, open_dataset, prepare
from compressor.errors import NumericsError
from compressor.files import read_json
from compressor.model.artifact import load_model, save_model
from compressor.model.checkpoint import Source
from compressor.stages.project import Options, run
from compressor.surgery.widths import select_usual
from compressor.targets.cutting import cut_copy
from compressor.training.context import Context
from compressor.training.remembered import AnswerFiles
from compressor.training.teacher import Originals

TASK = "text-classification"
RETRAIN = {"steps": 1, "batch_size": 8, "lr": 1e-4}


@pytest.fixture
def model(bert_folder):
    return load_model(Source(checkpoint=str(bert_folder), task=TASK), None)


@pytest.fixture
def context(sentences_csv, model, tmp_path):
    options = Dataset(dataset=str(sentences_csv), held_out=0.1)
    data = prepare(open_dataset(options, TASK), options, model.task, seed=0)
    return Context(
        tmp_path,
        "key",
        0,
        data,
        Originals(model.copy(), model.copy, data, AnswerFiles(tmp_path, "key")),
        label="project",
    )


def options(**settings):
    rounds = {} if "protocol" in settings else {"rounds": 2}
    return Options(**{"stage": "project", "retrain": RETRAIN, **rounds, **settings})


def n_dead(model):
    chosen = surgery.select(model.widths(), ["*.ffn", "*.heads"])
    return {width.name: int(surgery.dead_units(model.net, width).sum()) for width in chosen}


@pytest.mark.parametrize("ball", ["l1_inf", "l1_inf_exact", "l1_2"])
@pytest.mark.parametrize("importance", ["none", "activation", "taylor"])
def test_every_width_reaches_its_sparsity(model, context, ball, importance):
    run(model, options(ball=ball, importance=importance, column_sparsity={"*.ffn": 0.75, "*.heads": 0.5}), context)
    assert n_dead(model) == {"layer.0.heads": 2, "layer.0.ffn": 18, "layer.1.heads": 2, "layer.1.ffn": 18}


@pytest.mark.parametrize("importance", ["fisher", "movement", "hard_concrete", "random"])
def test_every_criterion_without_an_order_of_its_own_can_judge(model, context, importance):
    sparsity = {"*.ffn": 0.75, "*.heads": 0.5}
    chosen = options(
        importance=importance, column_sparsity=sparsity, retrain={**RETRAIN, "steps": 5}
    )  # gates move apart
    run(model, chosen, context)
    assert n_dead(model) == {"layer.0.heads": 2, "layer.0.ffn": 18, "layer.1.heads": 2, "layer.1.ffn": 18}
    assert len(chosen.phases()) == (3 if importance in ("movement", "hard_concrete") else 2)


def test_an_order_of_its_own_is_refused():
    with pytest.raises(
        ValidationError, match="importance 'hessian' has an order of its own, and no ball can choose in it"
    ):
        options(importance="hessian", column_sparsity=0.5)


@pytest.mark.parametrize("side", ["producer", "consumer", "both"])
def test_each_side_can_be_projected(model, context, side):
    run(model, options(side=side, column_sparsity=0.5), context)
    assert set(n_dead(model).values()) == {2, 12}


def test_the_smallest_columns_die_and_survivors_keep_their_weights(model, context):
    width = next(width for width in model.widths() if width.name == "layer.0.ffn")
    before = surgery.columns(model.net, width)
    expected = before.norm(dim=0).argsort()[:12]
    run(model, options(ball="l1_2", rounds=1, column_sparsity=0.5, retrain={**RETRAIN, "lr": 1e-12}), context)
    assert set(surgery.dead_units(model.net, width).nonzero().flatten().tolist()) == set(expected.tolist())
    live = ~surgery.dead_units(model.net, width)
    torch.testing.assert_close(surgery.columns(model.net, width)[:, live], before[:, live])


def test_clipped_survivors_land_in_the_ball(model, context):
    width = next(width for width in model.widths() if width.name == "layer.0.ffn")
    before = surgery.columns(model.net, width).abs().amax(dim=0).sum()
    settings = {"rounds": 1, "radius_fraction": 0.5, "survivors": "clipped", "retrain": {**RETRAIN, "lr": 1e-12}}
    run(model, options(**settings), context)
    assert surgery.columns(model.net, width).abs().amax(dim=0).sum() == pytest.approx(float(before) / 2, rel=1e-4)


def test_units_compete_over_all_widths_with_a_floor(model, context):
    with torch.no_grad():
        model.net.bert.encoder.layer[0].output.dense.weight.mul_(1e-3)
        model.net.bert.encoder.layer[0].intermediate.dense.weight.mul_(1e-3)
    run(model, options(widths=("*.ffn",), scope="global", min_units=4, column_sparsity=0.5), context)
    found = n_dead(model)
    assert (found["layer.0.ffn"], found["layer.1.ffn"]) == (20, 4)


def test_an_empty_width_is_an_error_unless_allowed(model, context):
    with pytest.raises(NumericsError, match=r"layer\.0\.heads: column_sparsity 0\.9 leaves none of its 4 units"):
        run(model, options(column_sparsity=0.9), context)
    run(model, options(rounds=1, column_sparsity=0.9, min_units=0), context)
    assert n_dead(model)["layer.0.heads"] == 4


def test_importance_saves_what_the_norm_would_kill(model, context):
    """A unit with one large outlier weight that nothing depends on dies under Taylor, and lives under the norm."""
    net = model.net.bert.encoder.layer[0]
    with torch.no_grad():
        net.intermediate.dense.weight[5] = 0.0
        net.intermediate.dense.bias[5] = -50.0  # gelu gives zero: never active
        net.output.dense.weight[0, 5] = 100.0
        net.intermediate.dense.weight[5, 0] = 1e-3
    for importance, is_dead in (("none", False), ("taylor", True)):
        copy = model.copy()
        context = replace(context, folder=context.folder / importance)
        context.folder.mkdir(parents=True)
        run(copy, options(rounds=1, widths=("layer.0.ffn",), importance=importance, column_sparsity=0.5), context)
        neurons = surgery.select(copy.widths(), ["layer.0.ffn"])[0]
        assert bool(surgery.dead_units(copy.net, neurons)[5]) is is_dead


def test_rewind_goes_back_to_the_initial_weights_under_the_mask(model, context, tmp_path):
    save_model(model, tmp_path / "initial")
    initial = model.net.classifier.weight.clone()
    with torch.no_grad():
        for parameter in model.net.parameters():
            parameter.mul_(1.5)
    settings: dict[str, Any] = {
        "protocol": "rewind",
        "rewind_to": str(tmp_path / "initial"),
        "retrain": {**RETRAIN, "lr": 1e-12},
    }
    run(model, Options(stage="project", column_sparsity=0.5, **settings), context)
    torch.testing.assert_close(model.net.classifier.weight, initial)
    assert set(n_dead(model).values()) == {2, 12}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give one of 'column_sparsity', 'target', 'radius' and 'radius_fraction'"),
        ({"column_sparsity": 0.5, "radius": 1.0}, "give one of"),
        ({"radius": 1.0, "importance": "taylor"}, "'importance' rescales the columns"),
        ({"column_sparsity": 0.5, "protocol": "rewind"}, "'rewind_to' and protocol: rewind go together"),
        ({"column_sparsity": 0.5, "protocol": "double_descent", "rounds": 3}, "leave 'rounds' out"),
        ({"column_sparsity": 1.0}, "less than 1"),
        ({"column_sparsity": 0.5, "ball": "l1"}, "zeroes entries, not columns|no such file"),
        ({"column_sparsity": 0.5, "ball": "nuclear"}, "zeroes ranks, not columns"),
    ],
)
def test_options_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        options(**settings)


def test_a_dry_walk_writes_nothing(model, context):
    context = replace(context, is_dry=True, folder=Path("does-not-exist"))
    run(model, options(column_sparsity=0.5), context)
    assert set(n_dead(model).values()) == {2, 12}


@pytest.mark.parametrize("importance", ["none", "activation", "taylor"])
def test_a_dry_walk_shows_the_sizes_to_come(model, context, importance):
    run(model, options(importance=importance, column_sparsity=0.5), replace(context, is_dry=True))
    assert n_dead(model) == {"layer.0.heads": 2, "layer.0.ffn": 12, "layer.1.heads": 2, "layer.1.ffn": 12}


@pytest.mark.parametrize(("family", "kinds"), [("mlp", {"ffn"}), ("resnet", {"channels"}), ("bert", {"ffn", "heads"})])
def test_default_patterns_need_one_match(family, kinds):
    net = tiny.tiny(family)
    chosen = select_usual(tiny.arch_of(net).widths(net), None)
    assert {width.name.rpartition(".")[2] for width in chosen} == kinds


def test_patterns_that_someone_wrote_must_match():
    net = tiny.tiny("mlp")
    with pytest.raises(ValueError, match=r"no width matches '\*\.heads'"):
        select_usual(tiny.arch_of(net).widths(net), ("*.ffn", "*.heads"))


def test_a_minimum_above_every_width_is_refused_and_above_one_keeps_it_whole(model, context):
    with pytest.raises(ValueError, match=r"^min_units: 25 is more than any width has, the largest has 24; lower it$"):
        run(model, options(column_sparsity=0.5, widths=["*.ffn", "*.heads"], min_units=25), context)
    run(model, options(column_sparsity=0.5, widths=["*.ffn", "*.heads"], min_units=20), context)
    live = {width.name: int((~surgery.dead_units(model.net, width)).sum()) for width in model.widths()}
    assert [live[name] for name in ("layer.0.heads", "layer.1.heads")] == [4, 4]
    assert live["layer.0.ffn"] == 20


def test_a_target_decides_the_sparsity_of_each_width(model, context):
    before = surgery.n_params(model.net)
    run(model, options(target={"n_params_ratio": 0.95}), context)
    sizes = {width.name: width.size for width in model.widths()}
    left = {name: sizes[name] - dead for name, dead in n_dead(model).items()}
    assert left == read_json(context.folder / "target.json")["widths"]
    assert surgery.n_params(cut_copy(model, left).net) / before == pytest.approx(
        0.95, rel=0.01
    )  # one neuron is half a percent


def test_a_target_stands_in_place_of_a_sparsity():
    with pytest.raises(ValidationError, match="give one of 'column_sparsity', 'target', 'radius'"):
        options(target={"n_flops_ratio": 0.5}, column_sparsity=0.5)
    with pytest.raises(ValidationError, match="leave scope: global out"):
        options(target={"n_flops_ratio": 0.5}, scope="global")
