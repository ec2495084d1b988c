"""Print the table of docs/reference/families.md: the units that can be removed in each family, and the largest error.

Run: python benchmarks/families.py [FAMILY ...]

Tiny networks with large random weights, of every family, with every attention they have: a third of the units of each
width is zeroed on each side in turn and cut, and the logits before and after are compared, relative to their largest.
"""

import sys
import warnings
from collections import defaultdict
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import tiny
from transformers import logging

from compressor import surgery
from compressor.archs import opsets_of
from compressor.surgery.widths import Width

SIDES: tuple[surgery.Side, ...] = ("producer", "consumer", "both")
KINDS = ("ffn", "heads", "group_heads", "cross_heads", "head_dims", "channels", "residual", "embedding", "inputs")


def kind_of(width: Width) -> str:
    """Column of a width: what its units are, such as ``channels`` for ``channels.reduce``."""
    return width.what.partition(".")[0].replace("cross_head_dims", "head_dims")


def error_of(net: nn.Module, name: str, side: surgery.Side) -> tuple[Width, float]:
    """Relative change of the logits when a third of a width is zeroed and cut."""
    arch, example = tiny.arch_of(net), tiny.inputs(net)
    width = next(each for each in arch.widths(net) if each.name == name)
    dead = torch.arange(width.size) % 3 == 1
    surgery.zero_units_(net, width, dead, side)
    before = tiny.logits(net, example)
    surgery.shrink_(net, width, ~dead, example)
    arch.resized_(net, width, int((~dead).sum()))
    return width, float((tiny.logits(net, example) - before).abs().max() / before.abs().max())


def row(family: str) -> dict[str, str]:
    """Cells of a family: exact or approximate, with the largest error over attentions, sides and widths."""
    worst: dict[tuple[str, bool], float] = defaultdict(float)
    for attention in [attention for name, attention in tiny.nets() if name == family]:
        for side in SIDES:
            net = tiny.tiny(family, attention)
            for name in [width.name for width in tiny.arch_of(net).widths(net)]:
                width, error = error_of(tiny.tiny(family, attention), name, side)
                key = (kind_of(width), width.exact)
                worst[key] = max(worst[key], error)
    cells: dict[str, list[str]] = defaultdict(list)
    for (kind, is_exact), error in sorted(worst.items(), reverse=True):
        cells[kind].append(
            f"{'exact' if is_exact else 'approximate'} {error:.0e}".replace("e-0", "e-").replace("e+00", "")
        )
    return {kind: ", ".join(found) for kind, found in cells.items()}


def main(families: list[str]) -> None:
    """Print one Markdown table."""
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    print(f"| family | {' | '.join(KINDS)} | opset |")
    print("| --- |" + " --- |" * (len(KINDS) + 1))
    for family in families:
        cells = row(family)
        (opset,) = opsets_of(tiny.arch_of(tiny.tiny(family)))
        print(f"| {family} | {' | '.join(cells.get(kind, '-') for kind in KINDS)} | {opset} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(tiny.TINY))
