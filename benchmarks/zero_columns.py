"""Draw docs/images/zero_columns.svg and print the table of balls.md: each ball on the weights of a real encoder.

Run: python benchmarks/zero_columns.py [CHECKPOINT]   (a BERT-like folder; ../shared/models/minilm-sst2 by default)
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import torch
from matplotlib import pyplot
from torch import Tensor

import compressor
from compressor.balls import l1_1, l1_2, l1_inf, l1_inf_exact

BALLS = {"l1_inf": l1_inf, "l1_inf_exact": l1_inf_exact, "l1_2": l1_2, "l1_1": l1_1}
COLORS = ("#0072b2", "#d55e00", "#009e73", "#777777")  # told apart by those who see two primaries only, too
STYLES = ("-", "--", "-.", ":")
MATRICES = {  # of a layer, and the axis of its groups
    "FFN in, neurons": ("intermediate.dense", 0),
    "FFN out, neurons": ("output.dense", 1),
    "query, rows": ("attention.self.query", 0),
    "attention out, columns": ("attention.output.dense", 1),
}
FRACTIONS = torch.logspace(-2, 0, 33).tolist()
PRINTED = (0.2, 0.1, 0.05, 0.02)


def zero_share(ball: ModuleType, matrices: list[Tensor], dim: int, fraction: float) -> float:
    """Share of groups that vanish at a fraction of the norm, over all layers."""
    n_zero = n_groups = 0
    for matrix in matrices:
        projected = ball.project(matrix, fraction * ball.norm(matrix, dim=dim), dim=dim)
        n_zero += int((projected == 0).all(dim=1 - dim).sum())
        n_groups += matrix.shape[dim]
    return n_zero / n_groups


def spread(sizes: list[Tensor]) -> float:
    """Largest coefficient of variation of the groups' sizes, over the layers."""
    return max(float(each.std() / each.mean()) for each in sizes)


def main(checkpoint: str) -> None:
    """Draw one panel per matrix, with a curve per ball."""
    network: Any = compressor.load(checkpoint).base_model
    layers = network.encoder.layer
    mpl.rcParams["svg.hashsalt"] = "compressor"  # the same file each time
    figure, panels = pyplot.subplots(1, 4, figsize=(11, 3), sharey=True, layout="constrained")
    print(f"| matrix, groups | {' | '.join(f'{fraction:g}' for fraction in PRINTED)} | spread of maxima, of l2 norms |")
    print("| --- |" + " --- |" * (len(PRINTED) + 1))
    for panel, (title, (name, dim)) in zip(panels, MATRICES.items(), strict=True):
        matrices = [layer.get_submodule(name).weight.detach() for layer in layers]
        for (label, ball), color, style in zip(BALLS.items(), COLORS, STYLES, strict=True):
            shares = [100 * zero_share(ball, matrices, dim, fraction) for fraction in FRACTIONS]
            panel.semilogx(FRACTIONS, shares, style, color=color, label=label)
        panel.set(title=title, xlabel="radius / norm")
        panel.grid(alpha=0.25)
        rows = [
            " / ".join(f"{100 * zero_share(ball, matrices, dim, fraction):.0f}" for ball in BALLS.values())
            for fraction in PRINTED
        ]
        maxima = spread([matrix.abs().amax(1 - dim) for matrix in matrices])
        lengths = spread([matrix.norm(dim=1 - dim) for matrix in matrices])
        print(f"| {title} | {' | '.join(rows)} | {maxima:.2f}, {lengths:.2f} |")
    panels[0].set_ylabel("zero groups, %")
    panels[0].legend(frameon=False)
    figure.savefig(Path(__file__).parents[1] / "docs" / "images" / "zero_columns.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:] or ["../shared/models/minilm-sst2"])
