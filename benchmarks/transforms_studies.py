"""Three studies of products of sparse factors: what they express, what noise does, and which start finds a transform.

Run: python benchmarks/transforms_studies.py [--part expressivity|noise|starts ...] [--encoder FOLDER]
     [--pyfaust FOLDER] [--results FOLDER]

`expressivity` approximates matrices by products of few nonzeros; `noise` recovers transforms whose rows and columns are
in an unknown order, beside pyfaust where it can be imported; `starts` trains products of 2-uniform factors. Each prints
a table and draws a figure in docs/images. Every matrix is kept in a JSON file: remove it to measure again.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from functools import partial
from math import log2, sqrt
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import scipy.fft
import scipy.linalg
import torch
import transforms_peer as peer
from matplotlib import pyplot
from safetensors.torch import load_file
from torch import Tensor
from transforms import error, gaussian, hidden, noisy, transform

from compressor import transforms
from compressor.files import read_json, write_json
from compressor.transforms import SparseProduct

Row = dict[str, Any]
N = 64  # of all matrices of the studies
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#777777")  # told apart by those who see two primaries only, too
STYLES = ("o-", "s--", "^-.", "v:", "x-")
BUDGETS = (0.1875, 0.375, 0.75)  # of the entries; the first is that of a butterfly
LEVELS = (0.0, 0.01, 0.02, 0.05, 0.1)
N_SEEDS = 3
N_STEPS = 800
IMAGES = Path(__file__).parents[1] / "docs" / "images"


def matrices(encoder: Path) -> dict[str, Tensor]:
    """Make the matrices of the study of expressivity."""
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(N, N, generator=generator, dtype=torch.float64)
    toeplitz = torch.from_numpy(scipy.linalg.toeplitz(0.8 ** np.arange(N)))
    weight = load_file(encoder / "model.safetensors")["encoder.layer.3.attention.self.query.weight"]
    return {
        "Hadamard": transform("Hadamard", N),
        "permuted Hadamard": hidden(transform("Hadamard", N), 0),
        "DFT": transform("DFT", N),
        "DCT": torch.from_numpy(scipy.fft.dct(np.eye(N), norm="ortho")),
        "Toeplitz": toeplitz,
        "query weight": weight[:N, :N].double(),
        "random": random,
    }


def expressivity(name: str, matrix: Tensor) -> Iterator[Row]:
    """Error of one matrix by each form and number of nonzeros."""
    n_factors = round(log2(N))
    yield _row(name, "butterfly", matrix, transforms.butterfly(matrix))
    yield _row(name, "recovered pattern", matrix, transforms.recover(matrix, noise=2))
    singular = torch.linalg.svdvals(matrix)
    sizes = matrix.abs().flatten().sort(descending=True).values
    for budget in BUDGETS:
        n = int(budget * N * N)
        rank = n // (2 * N)
        yield {"matrix": name, "form": "SVD", "nonzeros": 2 * N * rank, "error": _tail(singular, rank)}
        yield {"matrix": name, "form": "magnitude", "nonzeros": n, "error": _tail(sizes, n)}
        for k in (2, n_factors):
            own: dict[str, Any] = {} if k < n_factors else {"share": 1 / k}
            found = transforms.hierarchical(matrix, n_factors=k, n_nonzeros=n, n_sweeps=30, **own)
            yield _row(name, f"PALM4MSA, {k} factors", matrix, found)


def _row(name: str, form: str, matrix: Tensor, product: SparseProduct) -> Row:
    return {"matrix": name, "form": form, "nonzeros": product.n_nonzeros, "error": error(product.dense(), matrix)}


def _tail(values: Tensor, n: int) -> float:
    return float(values[n:].norm() / values.norm())


def noise(name: str, n: int) -> Iterator[Row]:
    """Errors to the clean matrix, in natural and in unknown order, of each algorithm and seed."""
    clean = gaussian(n, 0) if name == "Gaussian" else transform(name, n)
    for order in ("natural", "hidden"):
        for level in LEVELS:
            found: dict[str, list[float]] = {}
            for seed in range(N_SEEDS):
                matrix = clean if order == "natural" else hidden(clean, seed)
                dirty = noisy(matrix, level, seed)
                product, cpu_s = _timed(partial(transforms.recover, dirty, noise=1))
                found.setdefault("recover", []).append(error(product.dense(), matrix))
                found.setdefault("recover, CPU s", []).append(cpu_s)
                found.setdefault("butterfly", []).append(error(transforms.butterfly(dirty).dense(), matrix))
                for label, other in peer.noisy(dirty.numpy()).items():
                    found.setdefault(label, []).append(error(torch.from_numpy(other), matrix))
            for label, values in found.items():
                yield {"matrix": f"{name} {n}", "order": order, "noise": level, "form": label, "each": values}


def _timed(compute: Any) -> tuple[Any, float]:
    start = time.process_time()
    return compute(), time.process_time() - start


def starts(name: str, n: int) -> Iterator[Row]:
    """Train products of 2-uniform factors, in hidden order, by Adam: from random entries, a projection, a pattern."""
    clean = gaussian(n, 1) if name == "Gaussian" else transform(name, n)
    for seed in range(N_SEEDS):
        matrix = hidden(clean, seed)
        found = transforms.recover(matrix, noise=2)
        projected = transforms.butterfly(matrix, permutation=range(n))
        generator = torch.Generator().manual_seed(seed)
        entries = [torch.randn(n, n, generator=generator, dtype=matrix.dtype) / sqrt(2) for _ in projected.factors]
        random = [own * (factor != 0) for own, factor in zip(entries, projected.factors, strict=True)]
        shuffled = [own[:, torch.randperm(n, generator=generator)] for own in random]
        recovered = [own * (factor != 0) for own, factor in zip(entries, found.factors, strict=True)]
        ways = {
            "random entries, butterfly pattern": random,
            "random entries, random 2-uniform pattern": shuffled,
            "projected butterfly": list(projected.factors),
            "random entries, recovered pattern": recovered,
        }
        for label, factors in ways.items():
            before, after = trained(matrix, factors)
            yield {"matrix": f"{name} {n}", "start": label, "seed": seed, "before": before, "after": after}
        yield {"matrix": f"{name} {n}", "start": "recovered, not trained", "seed": seed, "after": found.residual}


def trained(matrix: Tensor, start: Sequence[Tensor]) -> tuple[float, float]:
    """Relative error before and after Adam on the entries that are not zero."""
    masks = [factor != 0 for factor in start]
    factors = [factor.clone().requires_grad_() for factor in start]
    optimizer = torch.optim.Adam(factors, lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, N_STEPS)
    before = 0.0
    for step in range(N_STEPS):
        product = torch.linalg.multi_dot([own * mask for own, mask in zip(factors, masks, strict=True)])
        loss = (product - matrix).abs().square().sum()
        before = before if step else error(product.detach(), matrix)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    last = torch.linalg.multi_dot([own.detach() * mask for own, mask in zip(factors, masks, strict=True)])
    return before, error(last, matrix)


def draw_expressivity(rows: list[Row]) -> None:
    """Draw error against nonzeros, a panel for each matrix."""
    names = list(dict.fromkeys(row["matrix"] for row in rows))
    forms = [
        form for form in dict.fromkeys(row["form"] for row in rows) if form not in ("butterfly", "recovered pattern")
    ]
    figure, panels = pyplot.subplots(1, len(names), figsize=(14, 3), sharey=True, layout="constrained")
    for panel, name in zip(panels, names, strict=True):
        own = [row for row in rows if row["matrix"] == name]
        for form, color, style in zip(forms, COLORS, STYLES, strict=False):
            points = [row for row in own if row["form"] == form]
            x, y = [row["nonzeros"] / N**2 for row in points], [max(row["error"], 1e-3) for row in points]
            panel.semilogy(x, y, style, color=color, markersize=3, label=form)
        for form, marker in (("butterfly", "*"), ("recovered pattern", "P")):
            (point,) = (row for row in own if row["form"] == form)
            panel.plot(point["nonzeros"] / N**2, max(point["error"], 1e-3), marker, color="black", label=form)
        panel.set(title=name, xlabel="nonzeros / entries")
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("relative error (at least 0.001)")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=7)
    figure.savefig(IMAGES / "transforms_expressivity.svg", metadata={"Date": None})


def draw_noise(rows: list[Row]) -> None:
    """Draw the median error against the noise, a panel for each matrix and order."""
    keys = list(dict.fromkeys((row["matrix"], row["order"]) for row in rows))
    forms = [form for form in dict.fromkeys(row["form"] for row in rows) if "CPU" not in form]
    figure, panels = pyplot.subplots(1, len(keys), figsize=(14, 3), sharey=True, layout="constrained")
    for panel, key in zip(panels, keys, strict=True):
        for form, color, style in zip(forms, COLORS, STYLES, strict=False):
            points = [row for row in rows if (row["matrix"], row["order"], row["form"]) == (*key, form)]
            y = [max(float(np.median(row["each"])), 1e-4) for row in points]
            panel.semilogy([100 * row["noise"] for row in points], y, style, color=color, markersize=3, label=form)
        panel.set(title=f"{key[0]}, {key[1]}", xlabel="noise, %")
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("error to the clean matrix")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=5)
    figure.savefig(IMAGES / "transforms_noise.svg", metadata={"Date": None})


def show(rows: list[Row]) -> None:
    """Print a Markdown table."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for row in rows:
        print("| " + " | ".join(_cell(row.get(name, "")) for name in columns) + " |")


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_cell(each) for each in value)
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Measure what has no file yet, print the tables and draw the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=["expressivity", "noise", "starts"])
    parser.add_argument("--encoder", type=Path, default=Path("runs/minilm"), help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--pyfaust", help="folder that pip installed pyfaust into")
    parser.add_argument("--results", type=Path, default=Path("runs/transforms_studies"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    peer.load(given.pyfaust)
    mpl.rcParams["svg.hashsalt"] = "compressor"  # the same file each time
    given.results.mkdir(parents=True, exist_ok=True)
    hard = [("Hadamard", 32), ("DFT", 32), ("Gaussian", 32)]
    parts: dict[str, dict[str, Any]] = {
        "expressivity": {key: partial(expressivity, key, each) for key, each in matrices(given.encoder).items()},
        "noise": {f"{name} {n}": partial(noise, name, n) for name, n in hard[::2]},
        "starts": {f"{name} {n}": partial(starts, name, n) for name, n in hard},
    }
    for part in given.part or parts:
        rows: list[Row] = []
        for key, measure in parts[part].items():
            file = given.results / f"{part}-{key.replace(' ', '-')}.json"
            if not file.exists():
                write_json(file, list(measure()))
            rows += read_json(file)
        show(rows)
        if part != "starts":
            {"expressivity": draw_expressivity, "noise": draw_noise}[part](rows)


if __name__ == "__main__":
    main()
