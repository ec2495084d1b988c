"""The stage `prune`: what it removes, how little the update loses, and what it refuses."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from compressor import surgery
from compressor.data import Dataset, open_dataset, prepare
from compressor.model import Model, Source, load_model, logits_of
from compressor.model.artifact import open_model, save_model
from compressor.numerics.classification import NO_LABEL
from compressor.pruning import costs, update
from compressor.stages import factorize, shrink
from compressor.stages.prune import Options, run
from compressor.surgery import readers
from compressor.surgery.widths import select_usual
from compressor.training.context import Context
from compressor.training.remembered import AnswerFiles
from compressor.training.teacher import Originals

TASK = "text-classification"
RETRAIN: dict[str, Any] = {"steps": 4, "batch_size": 8, "lr": 1e-4}
TRAINED = ("movement", "hard_concrete")


@pytest.fixture
def model(bert_folder):
    """Give a tiny BERT whose layers matter as much as the sums that they add to."""
    loaded = load_model(Source(checkpoint=str(bert_folder), task=TASK), None)
    with torch.no_grad():
        for name, weights in loaded.net.named_parameters():
            if "encoder" in name and weights.ndim > 1:
                weights.mul_(15)
    return loaded


@pytest.fixture
def context(sentences_csv, model, tmp_path):
    chosen = Dataset(dataset=str(sentences_csv), held_out=0.1)
    data = prepare(open_dataset(chosen, TASK), chosen, model.task, seed=0)
    originals = Originals(model.copy(), model.copy, data, AnswerFiles(tmp_path, "key"))
    return Context(tmp_path, "key", 0, data, originals, label="prune")


def apart(context: Context, name: str) -> Context:
    """Give the same run as a stage in another folder, which has nothing to resume."""
    folder = context.folder / name / "00-prune"
    folder.mkdir(parents=True)
    return replace(context, folder=folder)


def options(**settings: Any) -> Options:
    return Options(**{"stage": "prune", "column_sparsity": 0.5, "calibration": {"examples": 32}, **settings})


def share_left(model: Model) -> float:
    """Share of the operations of the widths whose units are live."""
    widths = select_usual(model.widths(), None)
    prices = costs.flops_per_unit(model, widths)
    live = sum(prices[each.name] * int((~surgery.dead_units(model.net, each)).sum()) for each in widths)
    return live / sum(prices[each.name] * each.size for each in widths)


@pytest.mark.parametrize("allocate", ["uniform", "score", "loss"])
@pytest.mark.parametrize("criterion", ["none", "activation", "taylor", "fisher", "hessian", "random", *TRAINED])
def test_the_share_of_operations_is_left(model, context, criterion, allocate):
    trained = {"retrain": RETRAIN} if criterion in TRAINED else {}
    run(model, options(criterion=criterion, allocate=allocate, **trained), context)
    assert 0.25 < share_left(model) <= 0.5
    n_params = surgery.n_params(model.net)
    shrunk = shrink.run(model, shrink.Options(stage="shrink"), replace(context, folder=context.folder))
    assert surgery.n_params(shrunk.net) < n_params


@pytest.mark.parametrize("retrain", [None, RETRAIN])
def test_rounds_remove_more_and_more(model, context, retrain):
    run(model, options(rounds=3, retrain=retrain), context)
    assert 0.25 < share_left(model) <= 0.5


def distance(model: Model, other: Model, batches: Any) -> float:
    before, after = ([logits_of(each)(batch) for batch in batches] for each in (model, other))
    return float(torch.dist(torch.cat(before), torch.cat(after)))


def test_the_update_brings_the_answers_back(model, context):
    batches = context.trainer.calibration(options().calibration)
    errors = {}
    for how in ("none", "least_squares"):
        pruned = model.copy()
        run(pruned, options(criterion="random", allocate="uniform", update=how), apart(context, how))
        errors[how] = distance(model, pruned, batches)
    assert errors["least_squares"] < 0.5 * errors["none"]


def test_a_refit_never_raises_the_error_of_a_layer_on_calibration_rows(model, context):
    """The sum that the last consumer adds to is nearer to that of the dense network, whatever was removed."""
    batches = context.trainer.calibration(options().calibration)
    for index, width in enumerate(select_usual(model.widths(), None)):
        cut, path = model.copy(), width.consumers[0].module
        mask = torch.arange(width.size) % 2 == index % 2
        surgery.zero_units_(cut.net, width, mask)
        before = outputs_gap(model, cut, path, batches)
        update.refit_(cut.net, model.net, [path], batches)
        assert outputs_gap(model, cut, path, batches) < before


def outputs_gap(model: Model, other: Model, path: str, batches: Any) -> float:
    """Squared distance of what a layer returns in two networks, without padding."""
    total, outputs = 0.0, []

    def keep(layer, inputs, output):
        outputs.append(output.detach())

    for batch in batches:
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        outputs.clear()
        for each in (model, other):
            hook = each.net.get_submodule(path).register_forward_hook(keep)
            each.net.eval()(**inputs)
            hook.remove()
        real = inputs["attention_mask"].bool()
        total += float((outputs[0] - outputs[1])[real].square().sum())
    return total


def test_collinear_neurons_are_merged(model, context, monkeypatch):
    """Neurons that are multiples of each other for what they read are made up for by the one that is left."""
    monkeypatch.setattr(update, "DAMPING", 1e-9)
    net = model.net.double()
    neurons = next(width for width in model.widths() if width.name == "layer.1.ffn")
    layer = net.bert.encoder.layer[1]
    with torch.no_grad():  # relu is homogeneous, unlike gelu
        layer.intermediate.intermediate_act_fn = torch.nn.ReLU()
        layer.intermediate.dense.weight[12:] = 3 * layer.intermediate.dense.weight[:12]
        layer.intermediate.dense.bias[12:] = 3 * layer.intermediate.dense.bias[:12]
    batches = context.trainer.calibration(options().calibration)
    cut = model.copy()
    surgery.zero_units_(cut.net, neurons, torch.arange(24) < 12)
    path = neurons.consumers[0].module
    broken = outputs_gap(model, cut, path, batches)
    update.refit_(cut.net, net, [path], batches)
    assert outputs_gap(model, cut, path, batches) < 1e-12 * broken


def test_the_same_seed_gives_the_same_bits(model, context):
    results = []
    for name in "ab":
        pruned = model.copy()
        run(pruned, options(), apart(context, name))
        results.append(pruned.net.state_dict())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_a_pruned_network_can_be_saved_and_opened(model, context, tmp_path):
    run(model, options(), context)
    save_model(model, tmp_path / "model")
    opened = open_model(tmp_path / "model", model.task)
    assert all(torch.equal(tensor, model.net.state_dict()[name]) for name, tensor in opened.net.state_dict().items())


def test_a_dry_run_plans_the_widths_and_trains_nothing(model, context):
    given = run(model, options(), replace(context, is_dry=True))
    assert 0.3 < share_left(given) < 0.6
    assert list(context.folder.iterdir()) == []


class TestRefused:
    @pytest.mark.parametrize("criterion", TRAINED)
    def test_a_criterion_of_training_without_training(self, criterion):
        with pytest.raises(
            ValidationError, match=rf"criterion '{criterion}' judges units while they are trained; give"
        ):
            options(criterion=criterion)

    def test_labels_that_are_missing(self, model, context):
        context.data.train.labels.fill_(NO_LABEL)
        with pytest.raises(ValueError, match="criterion: 'taylor' needs labels, and some calibration rows have none"):
            run(model, options(criterion="taylor"), context)
        run(
            model, options(criterion="fisher", allocate="score"), apart(context, "fisher")
        )  # takes the network's own answers

    def test_a_sparsity_that_leaves_less_than_one_unit_each(self, model, context):
        with pytest.raises(ValueError, match=r"one unit of each width is already .* times what is to be left; lower"):
            run(model, options(column_sparsity=0.99, criterion="fisher", allocate="score"), context)

    def test_factorized_consumers(self, model, context):
        settings = factorize.Options(stage="factorize", budget=0.5, layers=("*.output.dense",), if_slower="keep")
        factorize.run(model, settings, replace(context, is_dry=True))
        with pytest.raises(ValueError, match=r"is a FactorizedLinear, whose weights cannot be solved for; set update"):
            run(model, options(), context)


def test_what_costs_a_unit_adds_up_to_the_operations_of_the_layers(model):
    widths = select_usual(model.widths(), None)
    prices = costs.flops_per_unit(model, widths)
    assert prices["layer.0.ffn"] == 2 * 2 * 16 * min(costs.LENGTH, model.net.config.max_position_embeddings)
    assert readers.names(widths) == [each.consumers[0].module for each in widths]
