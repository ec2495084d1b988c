"""Layers that are products, learned on the digits: accuracy against parameters, at equal numbers.

Run: python benchmarks/learned_products.py [--nets mlp vit] [--budgets 0.5 0.25 0.1] [--seeds 0 1 2]

The hidden layers of an MLP, or the FFNs of a small vision transformer, are replaced. Random starts are trained as long
as the dense network; projected ones start from the trained dense network and are trained a third of that. l1,inf
projects the columns that read the hidden units, and the units whose column is zero are removed. Every row is kept in
runs/learned_products.json, so a script that is stopped goes on where it was.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot
from sklearn.datasets import load_digits
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification

from compressor.balls import l1_inf
from compressor.nn import ProductOfSparse
from compressor.surgery import factorizing

RESULTS = Path("runs/learned_products.json")
METHODS: dict[str, dict[str, Any]] = {
    "butterfly": {"method": "kronecker_sparse", "form": {"pattern": "butterfly"}},
    "Monarch, 4 x 4": {"method": "monarch", "form": {"blocks": (4, 4)}},
    "low rank": {"method": "svd"},
    "sparse product": {"method": "product_of_sparse"},
}
HIDDEN, BATCH, N_TRAIN = 256, 64, 1437
EPOCHS, RETRAIN_EPOCHS, LR, RETRAIN_LR = 30, 10, 2e-3, 5e-4


class Vit(nn.Module):
    """A vision transformer of two layers, 64 wide, on patches of 2 x 2 pixels."""

    def __init__(self) -> None:
        super().__init__()
        config = ViTConfig(
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=HIDDEN,
            image_size=8,
            patch_size=2,
            num_channels=1,
        )
        config.num_labels = 10
        self.net: Any = ViTForImageClassification(config)

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute logits of images of 64 pixels."""
        logits: Tensor = self.net(pixels.reshape(-1, 1, 8, 8)).logits
        return logits


def mlp() -> nn.Sequential:
    """Two hidden layers of 256 units."""
    return nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))


NETS: dict[str, Callable[[], nn.Module]] = {"mlp": mlp, "vit": Vit}


def chosen(net: nn.Module) -> list[str]:
    """Paths of the layers that are replaced."""
    if isinstance(net, Vit):
        return [
            name for name, layer in net.named_modules() if isinstance(layer, nn.Linear) and HIDDEN in layer.weight.shape
        ]
    return ["0", "2"]


def data() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """1,437 digits to train on, and the 360 others to test."""
    pixels, labels = load_digits(return_X_y=True)
    inputs, targets = torch.from_numpy(pixels).float() / 16, torch.from_numpy(labels)
    return (inputs[:N_TRAIN], targets[:N_TRAIN]), (inputs[N_TRAIN:], targets[N_TRAIN:])


def train(net: nn.Module, n_epochs: int, lr: float, seed: int) -> float:
    """Train, and give the accuracy on the test images."""
    (inputs, targets), (test_inputs, test_targets) = data()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=n_epochs * (N_TRAIN // BATCH))
    net.train()
    for _ in range(n_epochs):
        for rows in torch.randperm(N_TRAIN, generator=generator)[: N_TRAIN // BATCH * BATCH].split(BATCH):
            loss = nn.functional.cross_entropy(net(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        return float((net(test_inputs).argmax(dim=1) == test_targets).float().mean())


def replaced(net: nn.Module, method: dict[str, Any], budget: float, is_random: bool) -> tuple[nn.Module, int]:
    """Put products in the place of the chosen layers, and count their numbers; indices count as numbers."""
    net, n_numbers = copy.deepcopy(net), 0
    for name in chosen(net):
        layer: Any = net.get_submodule(name)
        candidate = factorizing.candidate(name, layer, method["method"], method.get("form", {}))
        rank = candidate.rank_for(budget)
        n_numbers += candidate.n_params(rank)
        made: Any
        if is_random and method["method"] == "product_of_sparse":
            assert isinstance(rank, int)
            made = ProductOfSparse(layer.in_features, layer.out_features, n_nonzeros=rank)
        else:
            made = candidate.factorized(layer, rank)
            if is_random:
                made.reset_parameters()
        net.set_submodule(name, made)
    return net, n_numbers


def projected(net: nn.Module, budget: float) -> tuple[nn.Module, int]:
    """Remove the hidden units whose columns l1,inf projects to zero, the same share of each hidden layer."""
    net, names = copy.deepcopy(net), chosen(net)
    if isinstance(net, Vit):
        pairs, n_kept = list(zip(names[::2], names[1::2], strict=True)), int(HIDDEN * budget)
    else:
        pairs, n_kept = [("0", "2"), ("2", "4")], _mlp_width(budget)
    for writer, reader in pairs:
        first, second = net.get_submodule(writer), net.get_submodule(reader)
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        columns = second.weight.detach()
        norms = l1_inf.project(columns, l1_inf.radius_for(columns, 1 - n_kept / HIDDEN)).abs().amax(dim=0)
        keep = norms.topk(n_kept).indices.sort().values
        first.weight, first.bias = nn.Parameter(first.weight[keep]), nn.Parameter(first.bias[keep])
        second.weight = nn.Parameter(second.weight[:, keep])
    return net, sum(net.get_submodule(name).get_parameter("weight").numel() for name in names)


def _mlp_width(budget: float) -> int:
    """Most hidden units whose two layers have a share of the weights."""
    most = budget * (64 * HIDDEN + HIDDEN**2)
    return next(n for n in range(HIDDEN, 0, -1) if 64 * n + n * n <= most)


def rows(kind: str, budgets: list[float], seed: int, results: dict[str, Any]) -> Iterator[None]:
    """Train the dense network of a seed, and everything that is not in the results yet."""
    torch.manual_seed(seed)
    dense, n_dense = NETS[kind](), 0
    start = copy.deepcopy(dense.state_dict())
    accuracy = train(dense, EPOCHS, LR, seed)
    n_dense = sum(dense.get_submodule(name).get_parameter("weight").numel() for name in chosen(dense))
    results[f"{kind}|dense|random|1|{seed}"] = {"accuracy": accuracy, "n_numbers": n_dense}
    fresh = NETS[kind]()
    fresh.load_state_dict(start)
    for budget in budgets:
        runs: dict[tuple[str, str], Callable[[], tuple[nn.Module, int]]] = {
            ("l1,inf", "projected"): partial(projected, dense, budget)
        }
        for name, method in METHODS.items():
            runs[name, "random"] = partial(replaced, fresh, method, budget, True)
            runs[name, "projected"] = partial(replaced, dense, method, budget, False)
        for (name, begin), make in runs.items():
            key = f"{kind}|{name}|{begin}|{budget}|{seed}"
            if key in results:
                continue
            began = time.process_time()
            torch.manual_seed(seed)
            try:
                net, n_numbers = make()
            except ValueError as error:  # no rank within the budget
                results[key] = {"refused": str(error)}
                continue
            is_random = begin == "random"
            found = train(net, EPOCHS if is_random else RETRAIN_EPOCHS, LR if is_random else RETRAIN_LR, seed)
            results[key] = {"accuracy": found, "n_numbers": n_numbers, "seconds": time.process_time() - began}
            yield


def table(kind: str, budgets: list[float], seeds: list[int], results: dict[str, Any]) -> None:
    """Print mean and range over the seeds."""
    print(f"\n| {kind} | start | {' | '.join(f'{budget:.0%}' for budget in budgets)} |")
    print(f"|---|---|{'---|' * len(budgets)}")
    for name, begin in [
        ("dense", "random"),
        ("l1,inf", "projected"),
        *((n, b) for n in METHODS for b in ("random", "projected")),
    ]:
        cells = []
        for budget in budgets if name != "dense" else [1]:
            found = [results.get(f"{kind}|{name}|{begin}|{budget}|{seed}", {}) for seed in seeds]
            points = [100 * each["accuracy"] for each in found if "accuracy" in each]
            text = (
                f"{np.mean(points):.1f} ({min(points):.1f}-{max(points):.1f}), {found[0]['n_numbers']:,}"
                if points
                else "-"
            )
            cells.append(text)
        print(f"| {name} | {begin} | {' | '.join(cells)} |")


def draw(kinds: list[str], results: dict[str, Any]) -> None:
    """Draw accuracy against numbers, a panel for each network."""
    mpl.rcParams["svg.hashsalt"] = "compressor"  # the same file each time
    figure, panels = pyplot.subplots(
        1, len(kinds), figsize=(4.5 * len(kinds), 3.2), layout="constrained", squeeze=False
    )
    colors = dict(
        zip(["dense", "l1,inf", *METHODS], ("k", "#777777", "#0072b2", "#d55e00", "#009e73", "#cc79a7"), strict=True)
    )
    for panel, kind in zip(panels[0], kinds, strict=True):
        for name, color in colors.items():
            for begin, style in (("projected", "-o"), ("random", "--s")):
                points: dict[int, list[float]] = {}
                for key, row in results.items():
                    if key.startswith(f"{kind}|{name}|{begin}|") and "accuracy" in row:
                        points.setdefault(row["n_numbers"], []).append(100 * row["accuracy"])
                sizes = sorted(points)
                means = [float(np.mean(points[size])) for size in sizes]
                if sizes:
                    panel.semilogx(
                        sizes, means, style, color=color, label=f"{name}, {begin}", fillstyle="none", markersize=4
                    )
        panel.set(title={"mlp": "MLP", "vit": "FFNs of a ViT"}[kind], xlabel="numbers in the replaced layers")
        panel.grid(alpha=0.25)
    panels[0][0].set_ylabel("accuracy on the digits, %")
    panels[0][-1].legend(frameon=False, fontsize=7)
    figure.savefig(Path(__file__).parents[1] / "docs" / "images" / "learned_products.svg", metadata={"Date": None})


def main() -> None:
    """Train what is not done yet, print the tables and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="*", default=list(NETS), choices=list(NETS))
    parser.add_argument("--budgets", nargs="*", type=float, default=[0.5, 0.25, 0.1])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    given = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for kind in given.nets:
        for seed in given.seeds:
            for _ in rows(kind, given.budgets, seed, results):
                RESULTS.write_text(json.dumps(results, indent=1))
        table(kind, given.budgets, given.seeds, results)
    RESULTS.write_text(json.dumps(results, indent=1))
    draw([kind for kind in NETS if any(key.startswith(f"{kind}|") for key in results)], results)


if __name__ == "__main__":
    main()
