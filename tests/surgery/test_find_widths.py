"""Widths of plain networks, found by tracing: cut exactly, exported, and as Torch-Pruning groups them."""

import copy
import re
from pathlib import Path

import onnxruntime
import plain
import pytest
import torch
from plain import IMAGES
from torch import nn
from torch.nn import functional

from compressor import surgery
from compressor.errors import InputError, NumericsError
from compressor.surgery import Cut, find_widths, left_out
from compressor.surgery.tracing.find import trace

EXPECTED = {
    "resnet": ["0.channels", "4.conv1.channels", "5.conv1.channels", "5.conv2.channels", "6.conv1.channels"],
    "mobilenet": [
        *("0.channels", "3.expand.channels", "3.gate.squeeze.ffn"),
        *("4.expand.channels", "4.gate.squeeze.channels", "7.ffn"),
    ],
    "densenet": ["stem.channels", "convs.0.channels", "convs.1.channels", "convs.2.channels"],
    "transformer": ["patches.residual", "plain.0.ffn", "gated.ffn"],
    "grouped": ["0.groups", "6.channels"],
}


def answer(net, images=IMAGES):
    with torch.no_grad():
        return net(images)


def cut_(net, width, example):
    """Zero every third unit, remove it, and prove that nothing changed."""
    dead = torch.arange(width.size) % 3 == 1
    surgery.zero_units_(net, width, dead)
    before = answer(net)
    surgery.shrink_(net, width, ~dead, example)
    if width.exact:
        surgery.prove_equal(before, answer(net), width.name)


@pytest.mark.parametrize("name", plain.NETS)
def test_the_widths_of_a_network_are_found(name):
    assert {width.name for width in find_widths(plain.build(name), IMAGES)} == {*EXPECTED[name]}


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch's exporter
@pytest.mark.parametrize("name", plain.NETS)
def test_every_width_is_cut_and_what_is_left_exported(name, tmp_path):
    net = plain.build(name)
    original = answer(net)
    for found in EXPECTED[name]:
        width = next(width for width in find_widths(net, IMAGES) if width.name == found)
        cut_(net, width, IMAGES)
        assert next(width for width in find_widths(net, IMAGES) if width.name == found).size < width.size
    assert not torch.allclose(answer(net), original, atol=1e-2)  # the zeroed units mattered

    torch.onnx.export(net, (IMAGES,), tmp_path / "cut.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "cut.onnx", providers=["CPUExecutionProvider"])
    (exported,) = session.run(None, {session.get_inputs()[0].name: IMAGES.numpy()})
    assert torch.allclose(torch.from_numpy(exported), answer(net), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", plain.NETS)
def test_widths_are_known_after_cuts_without_another_trace(name):
    net = plain.build(name)
    traced = trace(net, IMAGES)
    for found in EXPECTED[name]:
        width = next(width for width in traced.widths(net) if width.name == found)
        cut_(net, width, IMAGES)
    assert traced.widths(net) == find_widths(net, IMAGES)


@pytest.mark.parametrize("name", plain.NETS)
def test_a_unit_that_lives_is_caught(name):
    for width in find_widths(plain.build(name), IMAGES):
        net = plain.build(name)
        before = answer(net)
        surgery.shrink_(net, width, torch.arange(width.size) == 0, IMAGES)
        with pytest.raises(NumericsError, match="removing units changed the outputs"):
            surgery.prove_equal(before, answer(net), width.name)


def test_constants_are_folded_from_positional_examples():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3))
    rows = torch.randn(5, 4)
    for example in (rows, (rows,), [rows], {"input": rows}):
        tried = copy.deepcopy(net)
        (width,) = find_widths(tried, example)
        surgery.zero_units_(tried, width, torch.arange(6) < 2, side="producer")
        before = answer(tried, rows)
        surgery.shrink_(tried, width, ~surgery.dead_units(tried, width), example)
        assert tried[2].in_features == 4
        surgery.prove_equal(before, answer(tried, rows), width.name)


def test_a_group_goes_whole():
    (width, _) = find_widths(plain.build("grouped"), IMAGES)
    assert (width.kind, width.size) == ("group", 4)
    assert {cut.module: cut.block for cut in width.everywhere} == {"0": 3, "1": 3, "3": 2, "4": 2, "6": 2}
    net = plain.build("grouped")
    cut_(net, width, IMAGES)
    assert (net[3].groups, net[3].in_channels, net[3].out_channels) == (3, 9, 6)


def test_a_part_of_a_concatenation_is_read_at_its_offset():
    widths = {width.name: width for width in find_widths(plain.build("densenet"), IMAGES)}
    second = widths["convs.1.channels"]
    assert second.consumers == (Cut("convs.2", "in", offset=10), Cut("head", "in", offset=10))
    assert second.carriers == (Cut("norms.2", "out", offset=10), Cut("last", "out", offset=10))


def test_a_sum_that_is_normalised_over_is_found_but_not_exact():
    residual = find_widths(plain.build("transformer"), IMAGES)[0]
    assert (residual.kind, residual.size, residual.exact) == ("dimension", 16, False)
    assert {cut.module for cut in residual.producers} == {
        *("patches", "token", "positions", "attentions.0.out", "attentions.1.out", "plain.2", "down")
    }
    assert Cut("scale", "out") in residual.carriers


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (nn.Sequential(nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 1)), "normalised in groups"),
        (nn.Sequential(nn.ChannelShuffle(2), nn.Conv2d(8, 4, 1)), "no rule for the operator 'channel_shuffle'"),
        (nn.Sequential(nn.Softmax(1), nn.Conv2d(8, 4, 1)), "the operator 'softmax' runs over it"),
        (nn.ConvTranspose2d(8, 4, 1), "no rule for the operator 'conv_transpose2d'"),
        (nn.LayerNorm((8, 16, 16)), "normalised together with other axes"),
        (nn.Flatten(0, 1), "flattened after another axis"),
        (nn.Unflatten(1, (2, 4)), "split by a reshape"),
        (nn.ZeroPad3d((0, 0, 0, 0, 1, 1)), "padded"),
        (nn.ReLU(), "leaves the network"),
    ],
)
def test_what_cannot_be_cut_is_named_with_the_reason(body, reason):
    net = nn.Sequential(nn.Conv2d(3, 8, 1), body)
    assert find_widths(net, IMAGES) == []
    assert left_out(net, IMAGES)["0"] == reason


class Words(nn.Module):
    """A mean of embeddings, brought to a dtype."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(10, 6), nn.Linear(6, 2)

    def forward(self, ids):
        return self.head(self.words(ids).mean(1).to(torch.float32))


@pytest.mark.parametrize(
    ("net", "example", "name"),
    [
        (Words(), torch.arange(8).view(2, 4), "words.embedding"),
        (nn.Sequential(nn.Linear(4, 12), nn.GLU(), nn.Linear(6, 2)), torch.randn(3, 4), "0.ffn"),
        (
            nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, affine=False), nn.Linear(6, 2)),
            torch.randn(3, 4),
            "0.ffn",
        ),
        (
            nn.Sequential(nn.Conv1d(4, 6, 3), nn.Upsample(6), nn.MaxPool1d(2), nn.Conv1d(6, 2, 1)),
            torch.randn(3, 4, 7),
            "0.channels",
        ),
        (nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 12, 3, groups=6), nn.Conv2d(12, 2, 1)), IMAGES, "0.groups"),
    ],
)
@pytest.mark.parametrize("side", ["producer", "consumer", "both"])
def test_units_dead_on_any_side_are_cut(net, example, name, side):
    net = copy.deepcopy(net).eval()
    (width,) = find_widths(net, example)
    assert (width.name, width.size) == (name, 6)
    dead = torch.arange(6) % 3 == 1
    surgery.zero_units_(net, width, dead, side)
    before = answer(net, example)
    surgery.shrink_(net, width, ~dead, example)
    surgery.prove_equal(before, answer(net, example), name)


class Fixed(nn.Module):
    """A network whose code names the number of its features, or takes some of them by their place."""

    def __init__(self, how):
        super().__init__()
        self.how, self.first, self.second = how, nn.Conv2d(3, 4, 16), nn.Linear(2 if how == "slice" else 4, 2)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, images):
        found = self.first(images)
        match self.how:
            case "view":
                return self.second(found.view(-1, 4))
            case "slice":
                return self.second(found.flatten(1)[:, :2])
            case "scale":
                return self.second((found * self.scale).flatten(1))
            case "split":
                return self.second(functional.relu(torch.cat(found.flatten(1).split([3, 1], 1)[::-1], 1)))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("view", "the network fails without one of them: "),
        ("slice", "taken from by index"),
        ("scale", "'scale' cannot be cut"),
        ("split", "split at a fixed place"),
    ],
)
def test_sizes_that_the_code_names_are_found_out(how, reason):
    assert find_widths(Fixed(how), IMAGES) == []
    assert left_out(Fixed(how), IMAGES)["first"].startswith(reason)


def test_the_example_of_the_page_on_families_works_when_pasted(capsys):
    page = (Path(__file__).parents[2] / "docs" / "reference" / "families.md").read_text()
    section = page[page.index("## Any `nn.Module`") :]
    exec(re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0], {})
    assert "Conv2d(3, 8, " in capsys.readouterr().out


def test_a_network_is_left_as_it_was():
    net = plain.build("mobilenet").train()
    before = copy.deepcopy(net.state_dict())
    find_widths(net, IMAGES)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_parts_without_entries_are_left_out_of_a_concatenation():
    class Growing(nn.Sequential):
        def forward(self, rows):
            return super().forward(torch.cat([torch.zeros(0), rows], dim=1))  # as XLM begins its cache

    net = Growing(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    assert [width.name for width in find_widths(net, torch.zeros(3, 4))] == ["0.ffn"]


def test_layers_beside_a_size_that_depends_on_the_data_are_found():
    class Chosen(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5))
            self.last = nn.Linear(5, 2)

        def forward(self, rows):
            return self.last(self.inner(rows)[rows[:, 0] > 0])  # as mBART takes the states of end tokens

    net, rows = Chosen(), torch.randn(3, 4)
    (width,) = find_widths(net, rows)
    assert width.name == "inner.0.ffn"
    assert left_out(net, rows)["inner.2"] == "a size next to it depends on the data"


class Keeping(nn.Module):
    """Keeps a tensor of its forward pass while it is evaluated, as LeViT does."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.kept = nn.Linear(4, 6), nn.Linear(6, 2), {}

    def forward(self, rows):
        self.kept["bias"] = self.first.weight.sum()
        return self.last(torch.relu(self.first(rows)) + self.kept["bias"])


def test_nothing_of_a_trace_stays_in_a_network():
    net = Keeping()
    find_widths(net, torch.zeros(3, 4))
    assert net.kept == {}
    copy.deepcopy(net)


def test_a_network_that_cannot_be_traced_is_refused_in_a_line():
    class Counting(nn.Module):
        def forward(self, images):
            return torch.ones(int(images.sum()))

    with pytest.raises(InputError, match=r"^Counting: cannot be traced \(.+\)$"):
        find_widths(Counting(), IMAGES)


@pytest.mark.parametrize("name", ["resnet", "mobilenet", "densenet"])
def test_units_are_those_that_torch_pruning_groups(name):
    torch_pruning = pytest.importorskip("torch_pruning", reason="a check against another tool")
    net = plain.build(name)
    graph = torch_pruning.DependencyGraph().build_dependency(net, IMAGES)
    for width in find_widths(net, IMAGES):
        assert plain.first_unit(width) == plain.group(net, graph, width), width.name
