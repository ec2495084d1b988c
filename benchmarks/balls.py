"""Time of the projections over that of one copy of the matrix, beside the limits they have to keep.

Run: python benchmarks/balls.py [--rounds N]. One thread, float32, `out=` given. Copy and projection alternate, each
ratio is of neighbours, and the median is printed; the clock is the thread's, which other jobs on the machine stop.
"""

import argparse
import importlib.util
import platform
from collections.abc import Callable
from functools import partial
from statistics import median
from time import thread_time

import torch
from torch import Tensor

from compressor.balls import l1_2, l1_inf, l1_inf_exact

SHAPES = [(384, 1536), (768, 3072), (1000, 10000), (4096, 11008)]
SPARSITIES = (0.30, 0.70, 0.95)
BALLS = {"l1_inf": l1_inf, "l1_2": l1_2, "l1_inf_exact": l1_inf_exact}
LIMITS = {"l1_inf": (2.6, 4.7), "l1_2": (3.0, 5.0), "l1_inf_exact": (12.0, 15.0)}  # groups contiguous, strided
_WARM_UP = 2  # rounds that are not counted
PEERS = {  # of github.com/memo-p/projection, where its extension `projections` is built; float64 only
    ("l1_inf", -2): "proj_l1infty_bilevel",
    ("l1_inf", -1): "proj_l1infty_bilevel_col",
    ("l1_inf_exact", -2): "proj_l1infty",
    ("l1_inf_exact", -1): "proj_l1infty_col",
}


def limit(name: str, shape: tuple[int, int], dim: int) -> float:
    """Give the promised ratio: over 16 MB, at 9 MB, and for a small bi-level projection."""
    strided, n_bytes = dim == -1, 4 * shape[0] * shape[1]
    if n_bytes > 16e6:
        return LIMITS[name][strided]
    if n_bytes > 8e6:
        return LIMITS[name][strided] * 2 if name == "l1_inf_exact" else LIMITS[name][strided] + 1
    return (5.0, 7.0)[strided] if name == "l1_inf" else float("inf")


def shrunk(values: Tensor, radius: float) -> Tensor:
    """Projection of non-negative values onto the simplex, as one writes it first."""
    descending = values.sort(descending=True).values
    thresholds = (descending.cumsum(0) - radius) / torch.arange(1, len(values) + 1)
    return (values - thresholds.max()).clamp(min=0)


def naive(name: str, matrix: Tensor, radius: float, dim: int) -> Tensor:
    """Project by the formula, with whole-matrix temporaries; for the exact ball, sort every group."""
    rows = matrix if dim == -2 else matrix.T
    if name == "l1_2":
        lengths = rows.norm(dim=1)
        return rows * (shrunk(lengths, radius) / lengths)[:, None]
    if name == "l1_inf":
        caps = shrunk(rows.abs().max(dim=1).values, radius)
    else:
        prefixes = rows.abs().sort(dim=1, descending=True).values.cumsum(1)
        counts = torch.arange(1, rows.shape[1] + 1)
        low, high = 0.0, float(prefixes[:, -1].max())
        for _ in range(30):
            middle = (low + high) / 2
            caps = ((prefixes - middle) / counts).amax(1).clamp(min=0)
            low, high = (middle, high) if caps.sum() > radius else (low, middle)
    return rows.sign() * torch.minimum(rows.abs(), caps[:, None])


def ratio(function: Callable[[], object], copy: Callable[[], object], rounds: int) -> float:
    """Median time of a function over that of a copy just before it."""
    ratios = []
    for _ in range(rounds + _WARM_UP):
        begin = thread_time()
        copy()
        middle = thread_time()
        function()
        ratios.append((thread_time() - middle) / (middle - begin))
    return median(ratios[_WARM_UP:])


def matrix_of(shape: tuple[int, int], dim: int) -> Tensor:
    """Gaussian groups of log-normal sizes."""
    sizes = torch.randn(shape[dim]).mul(0.5).exp()
    return torch.randn(shape) * (sizes[:, None] if dim == -2 else sizes)


def peer(name: str, matrix: Tensor, radius: float, dim: int, rounds: int) -> str:
    """Ratio of the other implementation, over a copy of the float64 matrix it needs."""
    if (name, dim) not in PEERS or importlib.util.find_spec("projections") is None:
        return "-"
    double, out = matrix.double(), matrix.double()
    function = getattr(importlib.import_module("projections"), PEERS[name, dim])
    return f"{ratio(partial(function, double, radius), partial(out.copy_, double), rounds):.0f}"


def main() -> None:
    """Print one line per ball, layout and shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, 1 thread, {rounds} rounds")
    print(f"{'ball':14}{'groups':12}{'shape':>12}{'30 %':>7}{'70 %':>7}{'95 %':>7}{'limit':>7}{'naive':>7}{'peer':>6}")
    for name, ball in BALLS.items():
        for dim, layout in ((-2, "contiguous"), (-1, "strided")):
            for shape in SHAPES:
                matrix = matrix_of(shape, dim)
                out = matrix.clone()
                radii = [ball.radius_for(matrix, sparsity, dim=dim) for sparsity in SPARSITIES]
                copy = partial(out.copy_, matrix)
                ours = [
                    ratio(partial(ball.project, matrix, radius, dim=dim, out=out), copy, rounds) for radius in radii
                ]
                formula = ratio(partial(naive, name, matrix, radii[1], dim), copy, rounds=1)
                other = peer(name, matrix, radii[1], dim, rounds=3)
                cells = "".join(f"{each:7.2f}" for each in ours)
                size = "x".join(map(str, shape))
                print(
                    f"{name:14}{layout:12}{size:>12}{cells}{limit(name, shape, dim):7.1f}{formula:7.0f}{other:>6}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
