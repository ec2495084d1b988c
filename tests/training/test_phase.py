"""Training phases on a tiny BERT: what is held, what is frozen, what stops them, and how they resume."""

from dataclasses import replace
from itertools import cycle

import pytest
import torch

from compressor import surgery
from compressor.data import Dataset, open_dataset, prepare
from compressor.errors import NumericsError
from compressor.model import load_model, logits_of
from compressor.model.checkpoint import Source
from compressor.training.options import Retrain
from compressor.training.phase import Phase, fit, lr_factor, observe

SIDES: tuple[surgery.Side, ...] = ("both", "producer", "consumer")
TASK, IMAGES = "text-classification", "image-classification"
RESNET = {"model_type": "resnet", "layer_type": "basic", "image_size": 8, "num_channels": 1}
RESNET |= {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 1]}


@pytest.fixture
def model(bert_folder):
    return load_model(Source(checkpoint=str(bert_folder), task=TASK), None)


@pytest.fixture
def data(sentences_csv, model):
    options = Dataset(dataset=str(sentences_csv), held_out=0.1)
    return prepare(open_dataset(options, TASK), options, model.task, seed=0)


def phase(model, data, teacher=None, **settings):
    retrain = Retrain(**{"steps": 6, "batch_size": 8, "lr": 1e-2, **settings})
    return Phase("test", model, retrain, data.train, 0, teacher)


def keep_nothing(step, state):
    pass


def test_training_lowers_the_loss(model, data):
    first = fit(phase(model, data, steps=2), 0, None, keep_nothing)
    last = fit(phase(model, data, steps=120), 0, None, keep_nothing)
    assert last < 0.7 * first


def test_dead_units_stay_dead_on_every_side(model, data):
    widths = surgery.select(model.widths(), ["*.heads", "*.head_dims", "*.ffn"])
    for width, side in zip(widths, cycle(SIDES), strict=False):
        units = torch.zeros(width.size, dtype=torch.bool)
        units[1] = True
        surgery.zero_units_(model.net, width, units, side)
    fit(phase(model, data, weight_decay=0.1), 0, None, keep_nothing)
    for width in widths:
        assert surgery.dead_units(model.net, width).nonzero().flatten().tolist() == [1]


def small_resnet():
    torch.manual_seed(0)
    model = load_model(Source(config=RESNET, task=IMAGES), [str(digit) for digit in range(10)])
    options = Dataset(dataset="sklearn:digits")
    data = prepare(open_dataset(options, IMAGES), options, model.task, seed=0)
    return model, data


def test_dead_channels_stay_dead_through_batch_norms():
    model, data = small_resnet()
    for width, side in zip(model.widths(), cycle(SIDES), strict=False):
        surgery.zero_units_(model.net, width, torch.arange(width.size) == 1, side)
    fit(phase(model, data, weight_decay=0.1), 0, None, keep_nothing)
    pixels = data.train.batch(range(8))
    for name in [width.name for width in model.widths()]:
        width = surgery.select(model.widths(), [name])[0]
        live = ~surgery.dead_units(model.net, width)
        assert live.logical_not().nonzero().flatten().tolist() == [1]
        before = logits_of(model)(pixels)
        surgery.shrink_(model.net, width, live, pixels)
        surgery.prove_equal(before, logits_of(model)(pixels), name)


def test_observing_changes_nothing():
    model, data = small_resnet()
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    grads = []
    seen = phase(model, data)
    observe(replace(seen, after_backward=lambda: grads.append(model.net.classifier[1].weight.grad.norm())), 2)
    assert len(grads) == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.net.state_dict().items())


def test_frozen_parameters_do_not_move_and_thaw(model, data):
    before = {name: parameter.clone() for name, parameter in model.net.named_parameters()}
    fit(phase(model, data, freeze=("*word_embeddings*",)), 0, None, keep_nothing)
    moved = {name for name, parameter in model.net.named_parameters() if not torch.equal(parameter, before[name])}
    assert "bert.embeddings.word_embeddings.weight" not in moved
    assert "classifier.weight" in moved
    assert all(parameter.requires_grad for parameter in model.net.parameters())
    with pytest.raises(ValueError, match="no parameter matches 'nothing'"):
        fit(phase(model, data, freeze=("nothing",)), 0, None, keep_nothing)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops(model, data, broken):
    model.net.classifier.bias.data[0] = broken
    with pytest.raises(NumericsError, match=r"test: the loss diverged to .* at step 1 of 6; lower 'lr'"):
        fit(phase(model, data), 0, None, keep_nothing)


@pytest.mark.parametrize(("n_steps", "step"), [(6, 4), (40, 38)])  # the second lies in the tail whose mean is reported
def test_a_phase_resumes_in_the_same_bits_and_numbers(model, data, n_steps, step):
    saved = {}
    copy = model.copy()

    def save(at, state):
        saved[at] = {name: tensor.clone() for name, tensor in state().items()}

    loss = fit(phase(model, data, steps=n_steps), 0, None, save)
    assert fit(phase(copy, data, steps=n_steps), step, saved[step], keep_nothing) == loss
    for name, tensor in model.net.state_dict().items():
        assert torch.equal(tensor, copy.net.state_dict()[name]), name


def test_warm_up_rises_and_decay_ends_above_zero():
    factors = [lr_factor(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == sorted(factors[:10])
    assert max(factors) == factors[10] == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert 0 < factors[-1] <= 0.02


def test_epochs_count_in_batches(data):
    assert Retrain(epochs=2, batch_size=8).n_steps(len(data.train)) == round(2 * len(data.train) / 8)
    assert Retrain(steps=7).n_steps(len(data.train)) == 7
