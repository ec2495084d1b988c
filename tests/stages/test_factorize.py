"""The stage `factorize`: ranks by budget, number, error, loss and penalty; norms; what folds; what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from pydantic import ValidationError
from torch import nn

from compressor import surgery
from compressor.data import Dataset, open_dataset, prepare
from compressor.errors import RecipeError
from compressor.factorizations import second_moment
from compressor.files import read_json
from compressor.model import Model, Source, Task, load_model, outputs_of
from compressor.model.artifact import open_model, save_model
from compressor.model.outputs import probe_of
from compressor.rundir.owned import stage_files
from compressor.stages import export, project, quantize, shrink
from compressor.stages.factorize import Options, run
from compressor.surgery import factorizing
from compressor.training import norms
from compressor.training.context import Context
from compressor.training.remembered import AnswerFiles
from compressor.training.teacher import Originals
from compressor.training.trainer import Trainer

TASK = "text-classification"
RETRAIN: dict[str, Any] = {"steps": 2, "batch_size": 8, "lr": 1e-4}
N_LAYERS = 12  # products of the two layers


@pytest.fixture
def model(bert_folder):
    return load_model(Source(checkpoint=str(bert_folder), task=TASK), None)


@pytest.fixture
def context(sentences_csv, model, tmp_path):
    chosen = Dataset(dataset=str(sentences_csv), held_out=0.1)
    data = prepare(open_dataset(chosen, TASK), chosen, model.task, seed=0)
    return Context(
        tmp_path,
        "key",
        0,
        data,
        Originals(model.copy(), model.copy, data, AnswerFiles(tmp_path, "key")),
        label="factorize",
    )


class KilledError(Exception):
    """Stands for a signal."""


def options(**settings: Any) -> Options:
    return Options(**{"stage": "factorize", "if_slower": "keep", "calibration": {"examples": 16}, **settings})


def shares(model):
    """Parameters of all factors over those of the dense layers."""
    layers = surgery.described(model.net)
    return sum(each["n_params"] for each in layers) / sum(each["n_params_dense"] for each in layers)


@pytest.mark.parametrize("norm", ["weight", "activation", "diagonal", "fisher"])
def test_a_budget_is_met_in_every_norm(model, context, norm):
    run(model, options(budget=0.6, norm=norm), context)
    assert len(surgery.factorized(model.net)) == N_LAYERS
    assert 0.45 < shares(model) <= 0.6


@pytest.mark.parametrize("layers", [["*.intermediate.dense"], ["*.attention.*"]])
def test_a_method_takes_arguments_that_do_not_touch_its_ranks(model, context, layers):
    settings = {"method": "cp", "norm": "weight", "form": {"n_iterations": 2}, "layers": layers}
    run(model, options(budget=0.5, **settings), context)
    assert 0 < shares(model) <= 0.5


def test_the_default_norm_is_that_of_the_outputs(model, context):
    """The error of each layer's outputs on the calibration rows is the least of its rank, and less than plain SVD's."""
    dense, plain = model.copy(), model.copy()
    run(model, options(budget=0.5), context)
    run(plain, options(budget=0.5, norm="weight"), context)
    chosen = factorizing.candidates(dense.net, dense.hidden, None, None)
    seen = norms.look(dense, chosen, options(budget=0.5).calibration, context.trainer)
    for each in chosen:
        metric = second_moment(seen[each.name].second)
        weight, own, other = (
            factorizing.weight_of(factorizing.dense(one.net.get_submodule(each.name))) for one in (dense, model, plain)
        )
        layer = surgery.factorized(model.net)[each.name]
        rank = layer.equation.sizes(layer.factors())["r"]
        values = torch.linalg.svdvals(metric.whiten(weight))
        least = float(values[rank:].norm() / values.norm())
        assert metric.error(weight, own) == pytest.approx(least, rel=1e-3)
        assert metric.error(weight, other) >= least - 1e-6


def test_the_bias_takes_the_mean_of_the_error(model, context):
    """So the mean output of the first layer is what it was."""
    before = model.copy()
    run(model, options(rank=1, layers=["*layer.0.attention.self.query"]), context)
    (name,) = surgery.factorized(model.net)
    chosen = factorizing.candidates(before.net, before.hidden, [name], None)
    mean = norms.look(before, chosen, options(rank=1).calibration, context.trainer)[name].mean.float()
    old, new = (net.get_submodule(name)(mean) for net in (before.net, model.net))
    torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-4)


def test_an_error_is_kept_by_every_layer(model, context):
    run(model, options(error=0.3, norm="weight"), context)
    original = context.originals.model.net
    for name, layer in surgery.factorized(model.net).items():
        weight = original.get_submodule(name).weight.detach()
        assert float((layer.fold().weight - weight).norm() / weight.norm()) <= 0.3 + 1e-5


def test_the_loss_spreads_a_budget_over_all_layers(model, context):
    run(model, options(budget=0.6, allocate="loss"), context)
    n_dense = sum(
        each.n_weights for each in factorizing.candidates(context.originals.model.net, model.hidden, None, None)
    )
    factorized = {each["name"]: each["n_params"] for each in surgery.described(model.net)}
    candidates = factorizing.candidates(context.originals.model.net, model.hidden, None, None)
    left = sum(factorized.get(each.name, each.n_weights) for each in candidates)
    assert left <= 0.6 * n_dense
    assert len({each["ranks"][0] for each in surgery.described(model.net)}) > 1


def test_a_penalty_leaves_ranks_within_the_budget(model, context):
    run(model, options(budget=0.6, rank="penalty", rounds=2, retrain=RETRAIN), context)
    assert len(surgery.factorized(model.net)) == N_LAYERS
    assert shares(model) <= 0.6


def test_ranks_fall_round_by_round_and_a_killed_run_ends_in_the_same_bits(model, context, tmp_path):
    settings = options(budget=0.5, rounds=2, retrain=RETRAIN)
    whole = run(model.copy(), settings, context).net.state_dict()

    def fail_in_the_second_round(self, *args, **kwargs):
        if self.journal.round == 1:
            raise KilledError
        return fit(self, *args, **kwargs)

    folder = tmp_path / "killed"
    folder.mkdir()
    fit = Trainer.fit
    again = Context(folder, "key", 0, context.data, context.originals, label="factorize")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", fail_in_the_second_round)
        with pytest.raises(KilledError):
            run(model.copy(), settings, again)
    assert (folder / "round.json").is_file()
    resumed = Context(folder, "key", 0, context.data, context.originals, label="factorize")
    left = run(model.copy(), settings, resumed).net.state_dict()
    assert left.keys() == whole.keys()
    assert all(tensor.shape == whole[name].shape for name, tensor in left.items())


@pytest.mark.parametrize(
    ("method", "form"),
    [
        ("kronecker_sparse", None),
        ("kronecker_sparse", {"pattern": "butterfly"}),
        ("monarch", None),
        ("product_of_sparse", None),
    ],
)
def test_products_are_trained_in_the_place_of_linear_layers_and_need_no_form(model, context, method, form):
    settings = options(budget=0.9, method=method, form=form, norm="weight", retrain=RETRAIN)
    before = run(model.copy(), settings.model_copy(update={"retrain": None}), context)
    (context.folder / "trained").mkdir()
    again = Context(context.folder / "trained", "key", 0, context.data, context.originals, label="factorize")
    layers = surgery.factorized(run(model.copy(), settings, again).net)
    assert len(layers) == N_LAYERS
    for name, old in surgery.factorized(before.net).items():
        for factor, own in zip(old.factors(), layers[name].factors(), strict=True):
            assert not torch.equal(factor, own)
            assert not own[factor == 0].any()


def test_what_would_be_slower_is_folded(model, context):
    """A sum of Kronecker products takes several products where a tiny dense layer takes one."""
    layers, form = ["*.intermediate.dense"], {"shape": [4, 4]}
    folded = run(model.copy(), options(method="kronecker", form=form, rank=2, layers=layers, if_slower="fold"), context)
    kept = run(model.copy(), options(method="kronecker", form=form, rank=2, layers=layers), context)
    assert not surgery.factorized(folded.net)
    assert {"factorized.json", "operations.json"} <= {file.name for file in stage_files(context.folder)}
    assert len(surgery.factorized(kept.net)) == 2
    probe = probe_of(model, 0)
    surgery.prove_equal(outputs_of(kept)(probe)["logits"], outputs_of(folded)(probe)["logits"], "folded", rtol=1e-4)


def test_a_table_of_embeddings_is_factorized_by_name(model, context):
    run(model, options(rank=4, layers=["*word_embeddings"]), context)
    (layer,) = surgery.factorized(model.net).values()
    assert layer.spec()["kind"] == "embedding"
    assert model.net.get_input_embeddings().weight.shape == (layer.num_embeddings, 4)


def test_the_other_stages_work_on_what_is_left(model, context, tmp_path):
    run(model, options(budget=0.6, retrain=RETRAIN), context)
    settings: dict[str, Any] = {"column_sparsity": 0.5, "rounds": 1, "retrain": RETRAIN}
    (tmp_path / "next").mkdir()
    context = replace(context, folder=tmp_path / "next")
    project.run(model, project.Options(stage="project", **settings), context)
    shrink.run(model, shrink.Options(stage="shrink"), context)
    probe = probe_of(model, 0)
    before = outputs_of(model)(probe)["logits"]
    save_model(model, tmp_path / "model")
    again = open_model(tmp_path / "model", model.task)
    assert torch.equal(outputs_of(again)(probe)["logits"], before)
    assert {width.size for width in again.widths() if width.what == "ffn"} == {12}
    graph = export.run(again, export.Options(stage="export"), context)
    torch.testing.assert_close(outputs_of(graph)(probe)["logits"], before, rtol=1e-4, atol=1e-4)
    small = quantize.run(graph, quantize.Options(stage="quantize"), context)
    gap = (outputs_of(small)(probe)["logits"] - before).abs().max()
    assert float(gap) < 0.1 * float(before.abs().max())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 99}, r"query: rank: must be 1 to 16"),
        ({"budget": 0.01}, r"query: budget: 0.01 is below rank 1"),
        ({"budget": 0.5, "layers": ["*.nothing"]}, r"'\*\.nothing' matches no layer; there are "),
        ({"budget": 0.5, "layers": ["*LayerNorm"]}, "is a LayerNorm, which cannot be factorized"),
        (
            {"budget": 0.5, "method": "tensor_train", "form": {"modes": [[5, 3], [4, 4]]}},
            "do not multiply to the 16 x 16",
        ),
        (
            {"budget": 0.5, "method": "monarch", "form": {"blocks": [3, 3]}},
            "must be two divisors of the matrix's 16, 16",
        ),
        ({"budget": 0.5, "form": {"depth": 3}}, "form: 'svd' has no depth; it takes nothing"),
        (
            {"budget": 0.5, "method": "cp", "layers": ["*word_embeddings"]},
            "a table of embeddings, which takes method: svd",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(model, settings, message):
    with pytest.raises(ValueError, match=message):
        run(model, options(**settings), tiny.bare_context(Path(), is_dry=True))


def test_convolutions_take_the_plain_norm_and_methods_for_kernels(tmp_path):
    net = tiny.tiny("resnet")
    arch = tiny.arch_of(net)
    model = Model(net, arch, Task(*tiny.task_of(net)))
    dry = tiny.bare_context(tmp_path, is_dry=True)
    with pytest.raises(ValueError, match="is a convolution, which takes norm: weight, got 'activation'"):
        run(model, options(budget=0.5, norm="activation"), dry)
    with pytest.raises(ValueError, match="'monarch' is not for convolutions; choose from"):
        run(model, options(budget=0.5, method="monarch", form={"blocks": [2, 2]}), dry)
    grouped = tiny.tiny("convnext")
    with pytest.raises(ValueError, match="is a convolution with groups"):
        factorizing.candidates(grouped, (), ["*dwconv"], None)
    assert any(isinstance(layer, nn.Conv2d) for layer in net.modules())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give exactly one of 'budget', 'target', 'rank' and 'error'"),
        ({"budget": 0.5, "rank": 3}, "give exactly one of"),
        ({"rank": "penalty"}, "give exactly one of"),
        ({"budget": 0.5, "rank": "penalty"}, "give method: svd and 'retrain'"),
        ({"rank": "penalty", "error": 0.1, "retrain": RETRAIN}, "rank: penalty takes a budget; give 'budget'"),
        ({"rank": 3, "allocate": "loss"}, "allocate: loss spreads a budget"),
        ({"budget": 0.5, "rank": "penalty", "retrain": RETRAIN, "allocate": "loss"}, "rank: penalty does so itself"),
        ({"budget": 0.5, "rounds": 3}, "'rounds' needs a 'budget' that falls and training"),
        ({"budget": 1.5}, "less than 1"),
        ({"budget": 0.5, "method": "svdd"}, "no such file in compressor.factorizations"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        options(**settings)


@pytest.mark.parametrize(("allocate", "rel"), [("uniform", 0.05), ("loss", 0.08)])
def test_a_target_decides_the_budget(model, context, allocate, rel):
    before = surgery.n_params(model.net)
    run(model, options(target={"n_params_ratio": 0.7}, allocate=allocate), context)
    assert surgery.n_params(model.net) / before == pytest.approx(0.7, rel=rel)  # ranks are coarse in so small layers
    record = read_json(context.folder / "target.json")
    assert record["measured"]["parameters"] == pytest.approx(0.7, rel=0.05)
    assert 0 < record["share"] < 0.7


def test_a_target_below_the_smallest_ranks_is_refused(model, context):
    with pytest.raises(
        RecipeError, match=r"target: n_params_ratio 0\.01 cannot be reached at parameters, the smallest"
    ):
        run(model, options(target={"n_params_ratio": 0.01}), context)


def test_a_target_stands_in_place_of_a_budget():
    with pytest.raises(ValidationError, match="give exactly one of 'budget', 'target', 'rank' and 'error'"):
        options(target={"n_params_ratio": 0.7}, budget=0.5)
    with pytest.raises(ValidationError, match="a cost_table is of units, not of ranks"):
        options(target={"p50_ratio": 0.7, "cost_table": "board.json"})
