"""Cuts of a ResNet agree with those that Torch-Pruning finds by tracing the gradients' graph."""

import copy
from typing import Any

import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification

from compressor import surgery
from compressor.archs import resnet

torch_pruning = pytest.importorskip("torch_pruning", reason="a check against another tool")

SIZES: dict[str, Any] = {"num_channels": 1, "embedding_size": 8, "hidden_sizes": [16, 24], "depths": [2, 2]}
PIXELS = {"pixel_values": torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))}
REMOVED = [0, 2]


def network(layer_type):
    torch.manual_seed(0)
    net = ResNetForImageClassification(ResNetConfig(**SIZES, layer_type=layer_type)).eval()
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if tensor.is_floating_point():  # variances above zero, all else of any sign
            torch.nn.init.uniform_(tensor, 0.5 if "running_var" in name else -0.5, 1.0)
    return net


def theirs_(net, width):
    """Prune the group that Torch-Pruning finds from the first layer that writes the width."""
    root = net.get_submodule(width.producers[0].module)
    graph = torch_pruning.DependencyGraph().build_dependency(net, PIXELS)
    group = graph.get_pruning_group(root, torch_pruning.prune_conv_out_channels, idxs=REMOVED)
    assert graph.check_pruning_group(group)
    group.prune()


@pytest.mark.parametrize("layer_type", ["basic", "bottleneck"])
def test_the_same_entries_of_the_same_layers_go(layer_type):
    original = network(layer_type)
    for width in resnet.widths(original):
        ours, theirs = copy.deepcopy(original), copy.deepcopy(original)
        keep = torch.ones(width.size, dtype=torch.bool)
        keep[REMOVED] = False
        surgery.shrink_(ours, width, keep, None)
        theirs_(theirs, width)
        expected = theirs.state_dict()
        assert ours.state_dict().keys() == expected.keys()
        for name, tensor in ours.state_dict().items():
            assert torch.equal(tensor, expected[name]), f"{width.name}: {name}"
        with torch.no_grad():
            assert torch.equal(ours(**PIXELS).logits, theirs(**PIXELS).logits), width.name
