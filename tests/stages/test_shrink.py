"""The stage `shrink`: widths of a kind go together, by as many forward calls at any depth; an error names one."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from tiny import bare_context
from transformers import AutoModelForSequenceClassification, BertConfig

from compressor import surgery
from compressor.errors import NumericsError
from compressor.model import Model, Task
from compressor.stages import shrink


def model_of(n_layers):
    torch.manual_seed(0)
    config = BertConfig(**{**tiny.TEXT, **tiny.LAYERS, "num_hidden_layers": n_layers})
    net = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return Model(net, tiny.arch_of(net), Task(*tiny.task_of(net)))


def kill_(model, side):
    for width in surgery.select(model.widths(), ["*.ffn", "*.heads"]):
        surgery.zero_units_(model.net, width, torch.arange(width.size) % 3 == 1, side)


def run(model):
    return shrink.run(model, shrink.Options(stage="shrink"), bare_context(Path(), is_dry=True))


@pytest.mark.parametrize("side", ["producer", "consumer", "both"])
def test_all_dead_units_go_and_the_outputs_stay(side):
    model = model_of(3)
    kill_(model, side)
    before = tiny.logits(model.net, tiny.inputs(model.net))
    run(model)
    surgery.prove_equal(before, tiny.logits(model.net, tiny.inputs(model.net)), side)
    sizes = {width.name: width.size for width in model.widths() if width.what in ("ffn", "heads")}
    assert sizes == {f"layer.{i}.{what}": size for i in range(3) for what, size in (("heads", 3), ("ffn", 16))}


def test_the_number_of_forward_calls_does_not_grow_with_depth():
    def n_calls(n_layers):
        model, calls = model_of(n_layers), []
        kill_(model, "producer")
        model.net.register_forward_hook(lambda *_: calls.append(1))
        run(model)
        return len(calls)

    assert n_calls(2) == n_calls(6)


def test_a_unit_that_reads_dead_units_only_goes_with_them():
    net: Any = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 3), torch.nn.ReLU())
    net.append(torch.nn.Linear(3, 2))
    with torch.no_grad():
        net[0].weight[0] = 0.0
        net[2].weight[1, 1:] = 0.0  # reads neuron 0 of the first layer alone
    widths = {width.name: width for width in surgery.find_widths(net, torch.randn(2, 4))}
    assert [int(surgery.dead_units(net, width).sum()) for width in widths.values()] == [1, 0]
    surgery.shrink_(net, widths["0.ffn"], ~surgery.dead_units(net, widths["0.ffn"]), torch.randn(2, 4))
    second = surgery.find_widths(net, torch.randn(2, 4))[1]
    assert int(surgery.dead_units(net, second).sum()) == 1


def test_a_proof_that_fails_names_the_width_that_is_wrong(monkeypatch):
    model = model_of(3)
    kill_(model, "both")
    dead_units = surgery.dead_units

    def wrong(net, width):
        dead = dead_units(net, width)
        return dead.roll(1) if width.name == "layer.1.ffn" else dead

    monkeypatch.setattr(surgery, "dead_units", wrong)
    with pytest.raises(NumericsError, match=r"^layer\.1\.ffn: removing units changed the outputs"):
        run(model)
