"""Times of a small ResNet whose 3x3 convolutions are factorized, over those of the dense network.

Run: python benchmarks/factorized_resnet.py [--rounds 40]

The network is that of the recipe cifar10_resnet_tucker.yaml with random weights, on which times do not depend: an
eighth of the channels is gone, as in the recipe. All files run in turns, on one thread; the clock is the thread's.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from factorization_speed import export, runner
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetForImageClassification

from compressor import factorizations, surgery
from compressor.factorizations import Rank
from compressor.measure.prices import Runner
from compressor.nn import FactorizedConv2d
from compressor.surgery import factorizing

CHANNELS, KEPT = (64, 128, 256), (56, 112, 224)
KERNELS = ["*.layer.[01].convolution"]
METHODS = ("tucker", "spatial_svd", "cp")
BUDGETS = (0.4, 0.25, 0.15)


class Logits(nn.Module):
    """The network with its logits as only output."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Classify images."""
        return cast(Tensor, self.net(images).logits)


def network(channels: tuple[int, ...]) -> nn.Module:
    """Make the network of the recipe with these channels."""
    sizes: dict[str, Any] = {"embedding_size": channels[0], "hidden_sizes": list(channels), "depths": [2, 2, 2]}
    settings = {"layer_type": "basic", "num_labels": 10, **sizes}
    net: nn.Module = ResNetForImageClassification(ResNetConfig(**settings))
    return net.eval()


def variants() -> Iterator[tuple[str, nn.Module]]:
    """Yield the dense networks and the factorized ones, each with its name."""
    yield "dense", network(CHANNELS)
    yield "7/8 of the channels", network(KEPT)
    for method in METHODS:
        for budget in BUDGETS:
            net = network(KEPT)
            for each in factorizing.candidates(net, [], KERNELS, method):
                layer = net.get_submodule(each.name)
                assert isinstance(layer, nn.Conv2d)
                surgery.replace_(net, each.name, factorized(layer, method, each.rank_for(budget)))
            yield f"{method}, {budget:.0%}", net


def factorized(layer: nn.Conv2d, method: str, rank: Rank) -> FactorizedConv2d:
    """Make a convolution of random factors."""
    least = 1 if isinstance(rank, int) else (1,) * len(rank)
    equation, found = factorizations.for_kernels(method).factor_kernel(layer.weight.detach(), rank=least)
    inner = dict.fromkeys(letter for letters in equation.factors for letter in letters if letter not in equation.axes)
    sizes = equation.sizes(found) | dict(zip(inner, [rank] if isinstance(rank, int) else rank, strict=True))
    factors = tuple(torch.randn([sizes[letter] for letter in letters]) for letters in equation.factors)
    return FactorizedConv2d.of(method, equation, factors, layer)


def main() -> None:
    """Measure all of them in turns, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.randn(1, 3, 32, 32)
    runs: dict[str, Runner] = {}
    with TemporaryDirectory() as folder:
        for name, net in variants():
            runs[name] = runner(
                export(Logits(net), torch.randn(2, 3, 32, 32), Path(folder, f"{len(runs)}.onnx")), images
            )
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(given.rounds):
        for name, run in runs.items():
            run.run()  # brings its weights into the cache
            times[name].append(run.seconds())
    dense = median(times["dense"])
    print("| network | ms | over dense |\n|---|---|---|")
    for name, own in times.items():
        print(f"| {name} | {1000 * median(own):.2f} | {median(own) / dense:.2f} |")


if __name__ == "__main__":
    main()
