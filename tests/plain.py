"""Plain networks of torch, in the manner of torchvision, for tests of what is found by tracing."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    """Two convolutions, with a shortcut that has one of its own where the channels change."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out)
        self.conv2, self.bn2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm2d(n_out)
        shortcut = nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
        self.downsample = nn.Sequential(*shortcut) if stride > 1 else nn.Identity()

    def forward(self, images):
        inner = functional.relu(self.bn1(self.conv1(images)))
        return functional.relu(self.bn2(self.conv2(inner)) + self.downsample(images))


def resnet():
    blocks = Residual(8, 8, 1), Residual(8, 12, 2), Residual(12, 12, 1)
    stem = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5))


class Gate(nn.Module):
    """Squeeze and excitation, with linear layers or with convolutions."""

    def __init__(self, n_channels, is_linear):
        super().__init__()
        self.is_linear = is_linear
        layer = nn.Linear if is_linear else lambda n_in, n_out: nn.Conv2d(n_in, n_out, 1)
        self.squeeze, self.excite = layer(n_channels, 4), layer(4, n_channels)

    def forward(self, images):
        pooled = images.mean((2, 3)) if self.is_linear else functional.adaptive_avg_pool2d(images, 1)
        scale = functional.hardsigmoid(self.excite(functional.relu(self.squeeze(pooled))))
        return images * (scale[:, :, None, None] if self.is_linear else scale)


class Inverted(nn.Module):
    """A mobile block: wider inside, depthwise, gated."""

    def __init__(self, n_channels, n_inner, is_linear):
        super().__init__()
        self.expand, self.bn1 = nn.Conv2d(n_channels, n_inner, 1, bias=False), nn.BatchNorm2d(n_inner)
        self.depthwise = nn.Conv2d(n_inner, n_inner, 3, padding=1, groups=n_inner, bias=False)
        self.bn2, self.gate = nn.BatchNorm2d(n_inner), Gate(n_inner, is_linear)
        self.project, self.bn3 = nn.Conv2d(n_inner, n_channels, 1, bias=False), nn.BatchNorm2d(n_channels)

    def forward(self, images):
        inner = functional.hardswish(self.bn1(self.expand(images)))
        inner = self.gate(functional.hardswish(self.bn2(self.depthwise(inner))))
        return images + self.bn3(self.project(inner))


def mobilenet():
    stem = nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.PReLU(6)
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10), nn.Hardswish(), nn.Linear(10, 5)
    return nn.Sequential(*stem, Inverted(6, 12, True), Inverted(6, 9, False), *head)


class Dense(nn.Module):
    """Layers that each read the concatenation of all before them."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(n) for n in (6, 10, 14)])
        self.convs = nn.ModuleList([nn.Conv2d(n, 4, 3, padding=1, bias=False) for n in (6, 10, 14)])
        self.last, self.head = nn.BatchNorm2d(18), nn.Linear(18, 5)

    def forward(self, images):
        found = self.stem(images)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            found = torch.cat([found, conv(functional.relu(norm(found)))], 1)
        return self.head(functional.relu(self.last(found)).mean((2, 3)))


class Attention(nn.Module):
    """Self-attention with one projection for queries, keys and values."""

    def __init__(self, width, n_heads):
        super().__init__()
        self.shape, self.qkv, self.out = (
            (3, n_heads, width // n_heads),
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )

    def forward(self, states):
        n, length, _ = states.shape
        qkv = self.qkv(states).reshape(n, length, *self.shape).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*qkv.unbind(0))
        return self.out(mixed.transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """A vision transformer of two layers; the feed-forward block of the second is gated."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token, self.positions = nn.Parameter(torch.zeros(1, 1, 16)), nn.Parameter(torch.zeros(1, 17, 16))
        self.norms = nn.ModuleList([nn.LayerNorm(16) for _ in range(5)])
        self.attentions = nn.ModuleList([Attention(16, 4) for _ in range(2)])
        self.plain = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))
        self.gated, self.down = nn.Linear(16, 40), nn.Linear(20, 16)
        self.scale, self.head = nn.Parameter(torch.ones(16)), nn.Linear(16, 5)

    def forward(self, images):
        states = self.patches(images).flatten(2).transpose(1, 2)
        states = torch.cat([self.token.expand(len(images), -1, -1), states], 1) + self.positions
        states = states + self.attentions[0](self.norms[0](states))
        states = states + self.plain(self.norms[1](states))
        states = states + self.scale * self.attentions[1](self.norms[2](states))
        gate, value = self.gated(self.norms[3](states)).chunk(2, -1)
        return self.head(self.norms[4](states + self.down(functional.silu(gate) * value))[:, 0])


def grouped():
    """Build a network with a convolution in groups of three inputs and two outputs."""
    convolutions = nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 3, groups=4, bias=False)
    head = nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 7, 1), nn.ReLU(), nn.Flatten(), nn.Linear(7 * 12 * 12, 5)
    return nn.Sequential(*convolutions, *head)


NETS = {
    "resnet": resnet,
    "mobilenet": mobilenet,
    "densenet": Dense,
    "transformer": Transformer,
    "grouped": grouped,
}
IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def build(name):
    """Build a network whose weights are large everywhere, so that a wrong answer shows."""
    torch.manual_seed(0)
    return randomised_(NETS[name](), IMAGES)


@torch.no_grad()
def randomised_(net, images):
    """Give a network large weights, and biases of any sign; batch norms take their statistics from images."""
    for name, parameter in net.named_parameters():
        if parameter.ndim == 1 or name.endswith(("token", "positions", "pos_embed")):
            nn.init.normal_(parameter, mean=float("norm" in name and "weight" in name), std=0.5)
        else:
            nn.init.kaiming_normal_(parameter)
    norms: list[Any] = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    net.train()(images)
    for norm in norms:
        norm.running_var.clamp_(min=0.1)
    return net.eval()


def first_unit(width):
    """List the entries of the first unit of a width, by layer and side."""
    found = set()
    for cut in width.everywhere:
        starts = (cut.offset + repeat * width.size * cut.block for repeat in range(cut.repeat))
        entries = tuple(start + entry for start in starts for entry in range(cut.block))
        found.add((cut.module.removesuffix(".weight"), cut.side, entries))
    return found


def group(net, graph, width):
    """List the entries that go with the same unit by the graph that Torch-Pruning made of the network."""
    cut = width.producers[0]
    layer = net.get_submodule(cut.module)
    prune = graph.get_pruner_of_module(layer).prune_out_channels
    names = {module: name for name, module in net.named_modules()}
    found = set()
    for dependency, entries in graph.get_pruning_group(layer, prune, idxs=[*range(cut.offset, cut.offset + cut.block)]):
        module = dependency.target.module
        if module in names and [*module.parameters()]:  # others are operators of its graph
            is_dense = isinstance(module, nn.Linear | nn.Conv2d) and getattr(module, "groups", 1) == 1
            reads = is_dense and not graph.is_out_channel_pruning_fn(dependency.handler)
            found.add((names[module], "in" if reads else "out", tuple(sorted(entries))))
    return found
