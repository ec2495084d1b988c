"""Laws that every file in compressor/criteria obeys; a new criterion is found and tested by itself."""

import copy

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from compressor import criteria, surgery
from compressor.criteria import Criterion
from compressor.plugins import discover

CRITERIA = discover(criteria, Criterion)
FAMILIES = {
    "bert": "*",
    "llama": "*.heads",
    "gpt2": "*.ffn",
    "resnet": "*.channels*",
    "mlp": "*.ffn",
    "swin": "*.heads",
}
N_STEPS = 3

every_criterion = pytest.mark.parametrize("name", CRITERIA)
every_family = pytest.mark.parametrize("family", FAMILIES)


def chosen(net, family):
    return surgery.select(tiny.arch_of(net).widths(net), [FAMILIES[family]])


def passes(net, after_backward, steps=range(N_STEPS)):
    """Run forward and backward passes, as training does."""
    for step in steps:
        loss = net(**tiny.inputs(net, length=4 + step))["logits"].square().mean()
        loss.backward()
        after_backward()
        net.zero_grad(set_to_none=True)


def collected(name, net, widths, seed=0):
    state = CRITERIA[name].start(widths, seed)
    with CRITERIA[name].watching(state, net, widths, goal=0.5) as after_backward:
        passes(net, after_backward)
    return state


@every_family
@every_criterion
def test_gives_one_score_for_each_unit(name, family):
    net = tiny.tiny(family)
    widths = chosen(net, family)
    state = collected(name, net, widths)
    for width in widths:
        scores = CRITERIA[name].scores(state, net, width)
        assert scores.shape == (width.size,)
        assert scores.dtype == torch.float64
        assert scores.isfinite().all()
        assert (scores >= 0).all()


@every_family
@every_criterion
def test_leaves_the_network_as_it_was(name, family):
    """Only a criterion of training may change weights, those of consumers."""
    net = tiny.tiny(family)
    widths = chosen(net, family)
    before, example = copy.deepcopy(net.state_dict()), tiny.inputs(net)
    answer = tiny.logits(net, example)
    collected(name, net, widths)
    free = {cut.module for width in widths for cut in width.consumers} if CRITERIA[name].READS == "training" else set()
    for tensor, values in net.state_dict().items():
        assert torch.equal(values, before[tensor]) or tensor.rpartition(".")[0] in free
    assert torch.equal(tiny.logits(net, example), answer) or free
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in net.modules())


@every_criterion
def test_watching_does_not_change_what_the_network_computes_unless_it_trains(name):
    net = tiny.tiny("bert")
    widths, example = chosen(net, "bert"), tiny.inputs(net)
    expected = net(**example)["logits"]
    with CRITERIA[name].watching(CRITERIA[name].start(widths, 0), net, widths, goal=0.5):
        answer = net(**example)["logits"]
    assert torch.equal(answer, expected) or CRITERIA[name].READS == "training"


@every_criterion
def test_is_the_same_every_time(name):
    first, second = (tiny.tiny("bert") for _ in range(2))
    one, other = (collected(name, net, chosen(net, "bert"), seed=7) for net in (first, second))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[each], other[each]) for each in one)


@every_criterion
def test_can_be_saved_and_goes_on(name, tmp_path):
    """A phase that is killed and resumed collects the same as one that is not."""
    net, resumed = tiny.tiny("bert"), tiny.tiny("bert")
    widths, criterion = chosen(net, "bert"), CRITERIA[name]
    state = criterion.start(widths, 0)
    with criterion.watching(state, net, widths, goal=0.5) as after_backward:
        passes(net, after_backward, range(1))
        save_file(state, tmp_path / "state.safetensors")
        passes(net, after_backward, range(1, N_STEPS))
    again = load_file(tmp_path / "state.safetensors")
    with criterion.watching(again, resumed, widths, goal=0.5) as after_backward:
        passes(resumed, after_backward, range(1, N_STEPS))
    assert state.keys() == again.keys()
    assert all(torch.equal(state[each], again[each]) for each in state)
