"""Print the table of docs/families.md on timm: what tracing finds in its networks, and what cuts change.

Run: python benchmarks/timm_widths.py

Weights are random and large, batch norms have statistics of their own. A third of the units of each exact width is
zeroed and cut, and the outputs before and after are compared, relative to their largest.
"""

import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import plain

from compressor import surgery
from compressor.surgery.tracing.find import trace

with warnings.catch_warnings(action="ignore"):
    import timm

ARCHITECTURES = (
    *("resnet18", "mobilenetv3_small_050", "efficientnet_b0", "vit_tiny_patch16_224", "convnext_atto"),
    *("regnetx_002", "densenet121"),
)
IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def row(architecture):
    """Cut a network, and say what was found, how long that took, and what changed."""
    torch.manual_seed(0)
    size = {"img_size": 64} if architecture.startswith("vit") else {}
    net = plain.randomised_(timm.create_model(architecture, num_classes=10, **size), IMAGES)
    start = time.perf_counter()
    traced = trace(net, IMAGES)
    seconds = time.perf_counter() - start
    n_params, change = surgery.n_params(net), 0.0
    widths = [each.width for each in traced.placed]
    for name in [width.name for width in widths if width.exact]:
        width = next(width for width in traced.widths(net) if width.name == name)
        dead = torch.arange(width.size) % 3 == 1
        surgery.zero_units_(net, width, dead)
        before = net(IMAGES)
        surgery.shrink_(net, width, ~dead, IMAGES)
        change = max(change, float((net(IMAGES) - before).abs().max() / before.abs().max()))
    kinds = Counter(width.name.rpartition(".")[2] for width in widths)
    found = ", ".join(f"{kinds[kind]} {kind}" for kind in sorted(kinds))
    reasons = ", ".join(f"{reason} ({n})" for reason, n in Counter(traced.left_out.values()).items())
    return (
        architecture,
        found,
        reasons,
        f"{change:.0e}",
        f"{surgery.n_params(net) / n_params:.2f}",
        f"{seconds:.1f} s",
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, timm {timm.__version__}, one thread\n")
    header = ("network", "found", "left out", "largest change", "parameters left", "traced in")
    for cells in (header, ("---",) * len(header), *map(row, ARCHITECTURES)):
        print(f"| {' | '.join(cells)} |", flush=True)
