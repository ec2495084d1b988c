"""Networks of timm without trained weights: what is found is cut exactly, exported, and what Torch-Pruning groups."""

import functools
import warnings

import onnxruntime
import plain
import pytest
import torch

from compressor import surgery
from compressor.surgery import find_widths
from compressor.surgery.tracing.find import trace

try:
    with warnings.catch_warnings(action="ignore"):  # torchvision's, where it cannot read image files
        import timm
except (ImportError, RuntimeError) as error:  # the latter of a torchvision that does not fit torch
    pytest.skip(f"timm cannot be imported: {error}", allow_module_level=True)

pytestmark = pytest.mark.slow
IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
ARCHITECTURES = {
    "resnet18": (12, {"channels"}, {"fc": "leaves the network"}),
    "mobilenetv3_small_050": (26, {"channels"}, {"classifier": "leaves the network"}),
    "efficientnet_b0": (40, {"channels"}, {"classifier": "leaves the network"}),
    "vit_tiny_patch16_224": (13, {"ffn", "residual"}, {"blocks.0.attn.qkv": "split by a reshape"}),
    "convnext_atto": (16, {"channels", "residual"}, {"head.fc": "leaves the network"}),
    "regnetx_002": (18, {"channels", "groups"}, {"head.fc": "leaves the network"}),
    "densenet121": (120, {"channels"}, {"classifier": "leaves the network"}),
}
"""Number of widths, their kinds by name, and an example of what is left out."""


@functools.cache
def build(architecture):
    torch.manual_seed(0)
    size = {"img_size": 64} if architecture.startswith("vit") else {}
    net = plain.randomised_(timm.create_model(architecture, num_classes=7, **size), IMAGES)
    return net, trace(net, IMAGES)


def answer(net):
    with torch.no_grad():
        return net(IMAGES)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_widths_are_found_and_the_rest_is_said(architecture):
    net, traced = build(architecture)
    n_widths, suffixes, left_out = ARCHITECTURES[architecture]
    widths = traced.widths(net)
    assert len(widths) == n_widths
    assert {width.name.rpartition(".")[2] for width in widths} == suffixes
    assert left_out.items() <= traced.left_out.items()
    assert all(width.exact == (width.kind != "dimension") for width in widths)


@pytest.mark.filterwarnings("ignore:Unwrapped parameters")  # Torch-Pruning takes their last axis, as we do
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_units_are_those_that_torch_pruning_groups(architecture):
    torch_pruning = pytest.importorskip("torch_pruning", reason="a check against another tool")
    net, traced = build(architecture)
    graph = torch_pruning.DependencyGraph().build_dependency(net, IMAGES)
    for width in traced.widths(net):
        if width.kind in ("neuron", "channel"):  # it cuts into the groups of convolutions
            assert plain.first_unit(width) == plain.group(net, graph, width), width.name


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # of torch's exporter
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_width_is_cut_and_what_is_left_exported(architecture, tmp_path):
    net, traced = build(architecture)
    original = answer(net)
    names = [width.name for width in traced.widths(net) if width.exact]
    for name in names:
        width = next(width for width in traced.widths(net) if width.name == name)
        dead = torch.arange(width.size) % 3 == 1
        surgery.zero_units_(net, width, dead)
        before = answer(net)
        surgery.shrink_(net, width, ~dead, IMAGES)
        surgery.prove_equal(before, answer(net), width.name)
    assert traced.widths(net) == find_widths(net, IMAGES)
    assert (answer(net) - original).abs().max() > 0.1 * original.abs().max()  # the zeroed units mattered

    torch.onnx.export(net, (IMAGES,), tmp_path / "cut.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "cut.onnx", providers=["CPUExecutionProvider"])
    (exported,) = session.run(None, {session.get_inputs()[0].name: IMAGES.numpy()})
    surgery.prove_equal(answer(net), torch.from_numpy(exported), architecture, rtol=1e-4)
