"""Surgery on networks that are nobody's architecture: a user's own modules with declared widths."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compressor import surgery
from compressor.errors import NumericsError
from compressor.surgery import Constant, Cut, Width

HIDDEN = Width("hidden", "neuron", 4, producers=(Cut("0", "out"),), consumers=(Cut("3", "in"),))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Dropout(0.5), nn.Linear(4, 2))


@pytest.fixture
def example():
    return {"input": torch.randn(5, 3, generator=torch.Generator().manual_seed(1))}


def mask(*units, size=4):
    return torch.isin(torch.arange(size), torch.tensor(units))


def outputs(net, example):
    with torch.no_grad():
        return net.eval()(**example)


class Fused(nn.Module):
    """Two heads of width 3 whose query, key and value come from one layer, as in GPT-2."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(5, 18), nn.Linear(6, 5)

    def forward(self, hidden):
        query, key, value = (
            part.unflatten(-1, (-1, 3)).transpose(-3, -2) for part in self.qkv(hidden).chunk(3, dim=-1)
        )
        mixed = torch.softmax(query @ key.mT, dim=-1) @ value
        return self.out(mixed.transpose(-3, -2).flatten(-2))


FUSED = Width(
    "heads",
    "head",
    2,
    producers=(
        Cut("qkv", "out", 3, offset=0, role="routes"),
        Cut("qkv", "out", 3, offset=6, role="routes"),
        Cut("qkv", "out", 3, offset=12),
    ),
    consumers=(Cut("out", "in", 3),),
)


def test_select_keeps_the_order_of_the_widths():
    widths = [Width(name, "neuron", 1, (), ()) for name in ("layer.0.heads", "layer.0.ffn", "layer.1.ffn")]
    chosen = surgery.select(widths, ["layer.1.*", "*.heads", "*.ffn"])
    assert [width.name for width in chosen] == ["layer.0.heads", "layer.0.ffn", "layer.1.ffn"]


def test_a_width_that_crosses_others_matches_only_when_it_is_named():
    crossing = {"heads": False, "head_dims": True, "group_heads": True, "ffn": False}
    widths = [
        Width(f"layer.0.{what}", "neuron", 1, (), (), layer="layer.0", crosses=crosses)
        for what, crosses in crossing.items()
    ]
    widths.append(Width("residual", "dimension", 1, (), (), crosses=True))
    for patterns, expected in (
        (["layer.0.*"], ["layer.0.heads", "layer.0.ffn"]),
        (["*"], ["layer.0.heads", "layer.0.ffn"]),
        (["*.head_dims", "residual"], ["layer.0.head_dims", "residual"]),
        (["layer.*.group_heads"], ["layer.0.group_heads"]),
    ):
        assert [width.name for width in surgery.select(widths, patterns)] == expected


def test_a_width_is_named_after_its_layer_and_what_it_is():
    width = Width("stage.0.block.1.channels.reduce", "channel", 1, (), (), layer="stage.0.block.1")
    assert width.what == "channels.reduce"
    assert Width("residual", "dimension", 1, (), ()).what == "residual"
    with pytest.raises(ValueError, match=r"layer\.1\.ffn: a width of 'layer\.0' must be named layer\.0\.<what>"):
        Width("layer.1.ffn", "neuron", 1, (), (), layer="layer.0")


def test_a_pattern_that_matches_nothing_names_the_widths_there_are():
    with pytest.raises(ValueError, match=r"no width matches '\*\.fnn'; there are 'hidden'"):
        surgery.select([HIDDEN], ["hidden", "*.fnn"])


def test_column_k_holds_what_writes_and_reads_unit_k(net):
    matrix = surgery.columns(net, HIDDEN)
    assert matrix.shape == (3 + 2, 4)
    for k in range(4):
        assert torch.equal(matrix[:, k], torch.cat([net[0].weight[k], net[3].weight[:, k]]))
    assert torch.equal(surgery.columns(net, HIDDEN, "producer"), net[0].weight.T)
    assert torch.equal(surgery.columns(net, HIDDEN, "consumer"), net[3].weight)
    matrix.zero_()
    assert net[0].weight.all(), "the matrix is a copy"


@pytest.mark.parametrize("side", ["producer", "consumer", "both"])
def test_writing_columns_is_the_inverse_of_reading_them(side):
    fused = Fused()
    matrix = torch.randn_like(surgery.columns(fused, FUSED, side))
    surgery.write_columns_(fused, FUSED, matrix, side)
    assert torch.equal(surgery.columns(fused, FUSED, side), matrix)


def test_a_width_without_producers_has_no_producer_columns(net):
    inputs = Width("inputs", "neuron", 3, producers=(), consumers=(Cut("0", "in"),))
    with pytest.raises(ValueError, match="inputs: has no producer"):
        surgery.columns(net, inputs, "producer")


@pytest.mark.parametrize(
    ("side", "rows_die", "biases_die", "columns_die"),
    [("both", True, True, True), ("producer", True, False, False), ("consumer", False, False, True)],
)
def test_zeroed_units_lose_the_weights_of_the_chosen_side(net, side, rows_die, biases_die, columns_die):
    surgery.zero_units_(net, HIDDEN, mask(1), side)
    for tensor, dies in ((net[0].weight, rows_die), (net[0].bias, biases_die), (net[3].weight.T, columns_die)):
        assert torch.equal(tensor[1] == 0, torch.full_like(tensor[1], dies, dtype=torch.bool))
        assert tensor[[0, 2, 3]].all()
    assert torch.equal(surgery.dead_units(net, HIDDEN), mask(1))
    assert surgery.column_sparsity(net, [HIDDEN, HIDDEN]) == 0.25


def test_a_head_is_dead_when_its_values_are_zero_whatever_it_looks_at():
    fused = Fused()
    nn.init.zeros_(fused.qkv.weight[:12])
    assert not surgery.dead_units(fused, FUSED).any(), "zero queries and keys look everywhere alike"
    fused = Fused()
    nn.init.zeros_(fused.qkv.weight[15:])
    assert surgery.dead_units(fused, FUSED).tolist() == [False, True]


def test_constants_are_what_the_activation_makes_of_the_bias(net, example):
    surgery.zero_units_(net, HIDDEN, mask(0, 2), "producer")
    net.train()
    net[3].eval()
    emitted = surgery.constants(net, HIDDEN, example)
    assert torch.equal(emitted.flatten()[[0, 2]], net[0].bias.sigmoid()[[0, 2]])
    assert net[2].training, "dropout sleeps only while the constants are looked at"
    assert not net[3].training


@pytest.mark.parametrize("keep", [mask(1, 3), torch.tensor([1, 3])], ids=["mask", "indices"])
@pytest.mark.parametrize("side", ["producer", "consumer", "both"])
def test_removing_dead_units_changes_no_output(net, example, side, keep):
    surgery.zero_units_(net, HIDDEN, mask(0, 2), side)
    net[0].weight.requires_grad_(False)
    before = outputs(net, example)
    surgery.shrink_(net, HIDDEN, keep, example)
    torch.testing.assert_close(outputs(net, example), before, rtol=1e-6, atol=1e-6)
    assert (net[0].out_features, net[3].in_features) == (2, 2)
    assert [parameter.requires_grad for parameter in net.parameters()] == [False, True, True, True]
    assert surgery.n_params(net) == (3 * 2 + 2) + (2 * 2 + 2)


@given(size=st.integers(1, 6), block=st.integers(1, 3), data=st.data())
def test_units_of_any_width_and_block_can_go(size, block, data):
    removed = torch.tensor(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    net = nn.Sequential(nn.Linear(3, size * block + 1), nn.Tanh(), nn.Linear(size * block + 1, 2)).double()
    width = Width("some", "head", size, (Cut("0", "out", block, offset=1),), (Cut("2", "in", block, offset=1),))
    surgery.zero_units_(net, width, removed, data.draw(st.sampled_from(["producer", "consumer", "both"])))
    example = {"input": torch.randn(4, 3, dtype=torch.float64)}
    before = outputs(net, example)
    surgery.shrink_(net, width, ~removed, example)
    torch.testing.assert_close(outputs(net, example), before)
    assert net[0].out_features == 1 + block * int((~removed).sum())


def test_a_fused_layer_loses_its_three_parts_at_once():
    fused, example = Fused(), {"hidden": torch.randn(2, 4, 5)}
    surgery.zero_units_(fused, FUSED, torch.tensor([True, False]), "producer")
    before = outputs(fused, example)
    surgery.shrink_(fused, FUSED, torch.tensor([1]), example)
    torch.testing.assert_close(outputs(fused, example), before, rtol=1e-5, atol=1e-6)
    assert fused.qkv.weight.shape == (9, 5)


def test_each_consumer_across_a_residual_sum_folds_what_it_sees_itself():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.enter, self.inner, self.leave = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, rows):
            stream = self.enter(rows)
            return self.leave(stream + self.inner(stream))

    net = Residual()
    readers = (Cut("inner", "in"), Cut("leave", "in"))
    width = Width("stream", "neuron", 4, (Cut("enter", "out"), Cut("inner", "out")), readers)
    surgery.zero_units_(net, width, mask(1, 2), "producer")
    example = {"rows": torch.randn(5, 3)}
    before = outputs(net, example)
    surgery.shrink_(net, width, mask(0, 3), example)
    torch.testing.assert_close(outputs(net, example), before)
    assert net.inner.weight.shape == (2, 2)


def test_unread_inputs_can_go_and_silent_ones_are_no_constants(net):
    inputs = Width("inputs", "neuron", 3, producers=(), consumers=(Cut("0", "in"),))
    assert not surgery.dead_units(net, inputs).any()
    surgery.zero_units_(net, inputs, mask(0, size=3))
    rows = torch.randn(5, 3)
    before = outputs(net, {"input": rows})
    surgery.shrink_(net, inputs, mask(1, 2, size=3), None)
    torch.testing.assert_close(outputs(net, {"input": rows[:, 1:]}), before)


def test_layers_that_share_a_parameter_still_do():
    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right, self.out = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)
            self.right.weight = self.left.weight

        def forward(self, rows):
            return self.out(torch.relu(self.left(rows)) * self.right(rows))

    net = Siamese()
    width = Width("both", "neuron", 4, (Cut("left", "out"), Cut("right", "out")), (Cut("out", "in"),))
    surgery.zero_units_(net, width, mask(3))
    example = {"rows": torch.randn(5, 3)}
    before, n_params = outputs(net, example), surgery.n_params(net)
    surgery.shrink_(net, width, mask(0, 1, 2), None)
    torch.testing.assert_close(outputs(net, example), before)
    assert net.right.weight is net.left.weight
    assert net.right.out_features == 3
    assert n_params - surgery.n_params(net) == 3 + 2 + 2, "one shared row, two biases, one column of two"


def test_an_older_graph_that_is_still_alive_does_not_disturb_training(net, example):
    loss = net(**example).sum()
    loss.backward()
    surgery.zero_units_(net, HIDDEN, mask(0))
    surgery.shrink_(net, HIDDEN, mask(1, 2, 3), example)
    assert all(parameter.grad is None for parameter in (net[0].weight, net[0].bias, net[3].weight))
    net(**example).square().sum().backward()
    assert net[0].weight.grad.shape == (3, 3)
    assert loss.grad_fn is not None


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_layer_that_reads_nothing_any_more_is_a_constant(example, has_bias):
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=has_bias))
    width = Width("hidden", "neuron", 4, (Cut("0", "out"),), (Cut("2", "in"),))
    surgery.zero_units_(net, width, mask(0, 1, 2, 3))
    before, keys = outputs(net, example), list(net.state_dict())
    surgery.shrink_(net, width, mask(), None)
    assert isinstance(net[2], Constant)
    assert torch.equal(outputs(net, example), before)
    assert list(net.state_dict()) == keys
    empty = Width("hidden", "neuron", 0, width.producers, width.consumers)
    assert surgery.columns(net, empty).shape == (3 + 2, 0)
    assert surgery.dead_units(net, empty).shape == (0,)
    assert surgery.column_sparsity(net, [empty]) == 0.0
    surgery.shrink_(net, empty, surgery.dead_units(net, empty), None)
    assert torch.equal(outputs(net, example), before)


def test_constants_need_an_example(net, example):
    surgery.zero_units_(net, HIDDEN, mask(0), "producer")
    with pytest.raises(ValueError, match="hidden: 1 removed units emit constants; pass an example"):
        surgery.shrink_(net, HIDDEN, mask(1, 2, 3), None)
    assert net[0].out_features == 4, "nothing was cut"


def test_a_layer_without_a_bias_gets_one_to_take_constants(net, example):
    surgery.zero_units_(net, HIDDEN, mask(0), "producer")
    net[3].bias = None
    before = outputs(net, example)
    surgery.shrink_(net, HIDDEN, mask(1, 2, 3), example)
    surgery.prove_equal(before, outputs(net, example), "hidden")
    assert net[3].bias.any()
    assert surgery.new_biases(net) == ["3"]


CHANNELS = Width("channels", "channel", 4, (Cut("0", "out"),), (Cut("3", "in"),), (Cut("1", "out"),))


@pytest.mark.parametrize("side", ["producer", "consumer", "both"])
def test_channels_go_with_their_batch_norm(side):
    net: Any = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1)).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    nn.init.normal_(net[1].running_mean)
    pixels = {"input": torch.randn(2, 2, 6, 6)}
    surgery.zero_units_(net, CHANNELS, mask(1, 2), side)
    assert surgery.dead_units(net, CHANNELS).tolist() == [False, True, True, False]
    before = outputs(net, pixels)
    surgery.shrink_(net, CHANNELS, mask(0, 3), pixels)
    surgery.prove_equal(before, outputs(net, pixels), "channels")
    assert (net[0].out_channels, net[1].num_features, net[3].in_channels) == (2, 2, 2)
    assert net[1].running_mean.shape == net[1].running_var.shape == (2,)


def test_a_padded_convolution_takes_no_constant():
    """Where it reads padding, the constant is not there: 0.15 wrong at the borders of a real network."""
    net: Any = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1)).eval()
    surgery.zero_units_(net, CHANNELS, mask(0, 1, 2, 3), "producer")
    nn.init.ones_(net[1].bias[1:2])
    with pytest.raises(ValueError, match="channels: removed units emit constants, which '3' pads with zeros"):
        surgery.shrink_(net, CHANNELS, mask(0, 2, 3), {"input": torch.randn(1, 2, 6, 6)})
    nn.init.zeros_(net[1].bias)
    with pytest.raises(ValueError, match="channels: '3' would have no inputs left; keep a unit"):
        surgery.shrink_(net, CHANNELS, mask(), {"input": torch.zeros(1, 2, 6, 6)})
    assert net[0].out_channels == net[3].in_channels == 4, "nothing was cut"


@pytest.mark.parametrize(
    "reader",
    [{"kernel_size": 1, "padding": "same"}, {"kernel_size": 3, "padding": 1, "padding_mode": "circular"}],
    ids=["one entry", "circular"],
)
def test_a_convolution_that_adds_no_zeros_takes_constants(reader):
    """Squeeze layers of EfficientNet are of one entry and padding `same`, which pads nothing."""
    net: Any = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, **reader)).eval()
    surgery.zero_units_(net, CHANNELS, mask(1, 2), "producer")
    nn.init.ones_(net[1].bias)
    pixels = {"input": torch.randn(2, 2, 6, 6)}
    before = outputs(net, pixels)
    surgery.shrink_(net, CHANNELS, mask(0, 3), pixels)
    surgery.prove_equal(before, outputs(net, pixels), "channels")


@pytest.mark.parametrize(
    ("width", "message"),
    [
        (Width("w", "neuron", 4, (Cut("7", "out"),), (Cut("3", "in"),)), "w: there is no module '7'"),
        (
            Width("w", "neuron", 4, (Cut("1", "out"),), (Cut("3", "in"),)),
            "w: '1' is a Sigmoid; its out side cannot be cut",
        ),
        (
            Width("w", "neuron", 5, (Cut("0", "out"),), (Cut("3", "in"),)),
            "w: needs 5 entries of '0', out side",
        ),
        (Width("w", "head", 2, (Cut("0", "out", 2),), (Cut("3", "in", 3),)), "w: needs 6 entries of '3', in side, fou"),
    ],
)
def test_a_width_that_does_not_fit_the_network_is_refused(net, width, message):
    with pytest.raises(ValueError, match=message):
        surgery.shrink_(net, width, torch.arange(width.size), None)


@pytest.mark.parametrize("keep", [mask(1, size=3), torch.tensor([0, 4])], ids=["mask", "index"])
def test_units_that_are_not_there_cannot_be_kept(net, keep):
    with pytest.raises(ValueError, match="hidden: has 4 units"):
        surgery.shrink_(net, HIDDEN, keep, None)


def test_tied_weights_count_once(net):
    net[2] = net[0]
    assert surgery.n_params(net) == (3 * 4 + 4) + (4 * 2 + 2)


def test_equal_outputs_are_proved_to_a_fraction_of_the_largest():
    before = torch.tensor([100.0, 1.0])
    surgery.prove_equal(before, before + torch.tensor([0.0, 9e-4]), "hidden")
    with pytest.raises(NumericsError, match=r"hidden: removing units changed the outputs by 2\.0e-03 where they reach"):
        surgery.prove_equal(before, before + torch.tensor([0.0, 2e-3]), "hidden")
    with pytest.raises(NumericsError):
        surgery.prove_equal(before, before * torch.nan, "hidden")
    surgery.prove_equal(torch.zeros(2), torch.zeros(2), "hidden")
