"""The update of consumers: it brings a layer's outputs nearer to what they were, in every kind of network."""

import copy

import pytest
import tiny
import torch

from compressor import surgery
from compressor.pruning import update
from compressor.pruning.replay import Replay, in_order_of_calls
from compressor.pruning.sums import sum_after
from compressor.surgery import readers
from compressor.surgery.widths import select_usual

FAMILIES = ("albert", "bart", "bert", "gpt2", "llama", "mlp", "resnet", "swin", "t5", "vit")
every_family = pytest.mark.parametrize("family", FAMILIES)


def batches_of(net, n=3):
    return [tiny.inputs(net, 24, length) for length in range(5, 5 + n)]


def widths_of(net):
    return select_usual(tiny.arch_of(net).widths(net), None)


def answers(net, path, batches):
    """What a layer returns, without padding."""
    seen = []

    def keep(layer, inputs, output):
        seen.append(output.detach())

    hook = net.get_submodule(path).register_forward_hook(keep)
    for batch in batches:
        net(**batch)
    hook.remove()
    layer = net.get_submodule(path)
    masks = [batch.get("attention_mask") for batch in batches for _ in range(len(seen) // len(batches))]
    kept = zip(seen, masks, strict=True)
    return torch.cat([readers.answers(layer, output, None if mask is None else mask.bool()) for output, mask in kept])


@every_family
def test_a_refit_brings_every_consumer_nearer_to_what_it_returned(family):
    dense = tiny.tiny(family)
    batches = batches_of(dense)
    for width in widths_of(dense):
        net = copy.deepcopy(dense)
        path = width.consumers[0].module
        surgery.zero_units_(net, width, torch.arange(width.size) % 2 == 0)
        before = torch.dist(answers(net, path, batches), answers(dense, path, batches))
        zeros = readers.matrix_of(net.get_submodule(path)) == 0
        update.refit_(net, dense, [path], batches)
        after = torch.dist(answers(net, path, batches), answers(dense, path, batches))
        assert after < before
        assert torch.equal(readers.matrix_of(net.get_submodule(path)) == 0, zeros)


@every_family
def test_a_refit_of_what_was_not_cut_changes_nothing(family):
    dense = tiny.tiny(family)
    net, batches = copy.deepcopy(dense), batches_of(dense)
    update.refit_(net, dense, readers.names(widths_of(dense)), batches)
    for batch in batches:
        torch.testing.assert_close(tiny.logits(net, batch), tiny.logits(dense, batch), rtol=1e-3, atol=1e-3)


@every_family
def test_what_is_known_is_not_computed_again_and_gives_the_same(family):
    net = tiny.tiny(family)
    batches = batches_of(net)
    replay = Replay(net, batches)
    expected = [replay.run(index)["logits"] for index in range(len(batches))]
    for path in in_order_of_calls(net, readers.names(widths_of(net)), batches[0]):
        replay.advance(path)
        for index, logits in enumerate(expected):
            assert torch.equal(replay.run(index)["logits"], logits)
    assert not any("forward" in vars(module) for module in net.modules())


@pytest.mark.parametrize(
    ("family", "what", "at"),
    [
        ("bert", "layer.0.heads", "bert.encoder.layer.0.attention.output.LayerNorm"),
        ("bert", "layer.1.ffn", "bert.encoder.layer.1.output.LayerNorm"),
        ("vit", "layer.0.heads", "vit.layers.0.layernorm_after"),
        ("llama", "layer.1.ffn", "model.norm"),
        ("mlp", "layer.0.ffn", None),
        ("resnet", "stage.0.block.0.channels", None),
    ],
)
def test_the_sum_that_an_output_enters_is_found(family, what, at):
    net = tiny.tiny(family)
    width = next(width for width in widths_of(net) if width.name == what)
    assert sum_after(net, width.consumers[0].module, tiny.inputs(net)) == at
