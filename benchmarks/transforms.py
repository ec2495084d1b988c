"""Rows 1 to 7 of the acceptance table of sparse products: what was asked, what was got, and the CPU seconds.

Run: python benchmarks/transforms.py [--row 1 --row 5 ...] [--encoder FOLDER] [--pyfaust FOLDER] [--results FOLDER]

1 Hadamard and Fourier matrices of known pattern. 2 Fourier without its permutation. 3 rectangular patterns. 4 noise.
5 unknown orders of rows and columns, also of Gaussian butterflies. 6 hierarchical PALM4MSA on Hadamard matrices. 7 the
weights of an encoder. Every case is kept in a JSON file and printed from there: remove it to measure again. pyfaust,
with which rows 3, 6 and 7 compare, has wheels for few hosts: `pip install --no-deps --target FOLDER pyfaust`. Without
it these columns are empty, and the reason is printed.
"""

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from functools import partial
from math import log2, prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import torch
import transforms_peer as peer
from safetensors.torch import load_file
from torch import Tensor

from compressor import transforms
from compressor.factorizations import kronecker_sparse, sparse_plus_low_rank
from compressor.files import read_json, write_json

Row = dict[str, Any]
MATRICES = {  # paths in the encoder, and the errors of pyfaust's best of a grid at 10, 25 and 50 % in our study
    "FFN-in L0": ("encoder.layer.0.intermediate.dense.weight", (0.656, 0.442, 0.229)),
    "query L3": ("encoder.layer.3.attention.self.query.weight", (0.744, 0.497, 0.255)),
    "FFN-in L5": ("encoder.layer.5.intermediate.dense.weight", (0.711, 0.468, 0.252)),
    "FFN-out L0": ("encoder.layer.0.output.dense.weight", (0.693, 0.486, 0.282)),
}
DENSITIES = (0.1, 0.25, 0.5)
SPARSE_PLUS_LOW_RANK = (0.67, 0.44, 0.21)
RECTANGULAR = [((24, 36), 3, 1), ((64, 96), 3, 2), ((60, 48), 4, 1), ((384, 1536), 4, 1)]
N_SEEDS = 8


def transform(name: str, n: int) -> Tensor:
    """Make a unitary Hadamard or Fourier matrix in double precision."""
    if name == "Hadamard":
        return torch.from_numpy(scipy.linalg.hadamard(n) / sqrt(n))
    return torch.from_numpy(np.fft.fft(np.eye(n), norm="ortho"))


def gaussian(n: int, seed: int) -> Tensor:
    """Make a butterfly with Gaussian entries."""
    generator, pattern = torch.Generator().manual_seed(seed), kronecker_sparse.butterfly_pattern(n)
    sizes = [(a, d, b, c) for a, b, c, d in pattern]
    return kronecker_sparse.rebuild(tuple(torch.randn(*s, generator=generator, dtype=torch.float64) for s in sizes))


def hidden(matrix: Tensor, seed: int) -> Tensor:
    """Permute rows and columns, and flip some of their signs."""
    generator, n = torch.Generator().manual_seed(seed), len(matrix)
    rows, columns = (torch.randperm(n, generator=generator) for _ in range(2))
    signs = torch.randint(0, 2, (2, n), generator=generator) * 2 - 1
    return signs[0][:, None] * matrix[rows][:, columns] * signs[1]


def noisy(matrix: Tensor, level: float, seed: int) -> Tensor:
    """Add Gaussian noise of a relative Frobenius norm."""
    noise = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(1000 + seed), dtype=matrix.dtype)
    return matrix + noise * (level * matrix.norm() / noise.norm())


def error(found: Tensor, matrix: Tensor) -> float:
    """Relative Frobenius norm of the difference."""
    return float(torch.linalg.vector_norm(found - matrix) / torch.linalg.vector_norm(matrix))


def timed(compute: Callable[[], Any]) -> tuple[Any, float]:
    """Compute something, and count the seconds of the processor."""
    start = time.process_time()
    found = compute()
    return found, time.process_time() - start


def row(case: str, asked: str, got: str, is_met: bool, cpu_s: float | None, **more: Any) -> Row:
    """Describe one line of the table."""
    return {"case": case, "asked": asked, "got": got, "is_met": is_met, "cpu_s": cpu_s, **more}


def known(name: str, n: int) -> Iterator[Row]:
    """Row 1, and row 2 for Fourier matrices: no permutation is given."""
    matrix = transform(name, n)
    product, cpu_s = timed(lambda: transforms.butterfly(matrix))
    excess = product.n_nonzeros - 2 * n * round(log2(n)) - (n if name == "DFT" else 0)
    is_met = float(product.residual) <= 1e-12 and excess == 0
    yield row(f"{name} {n}", "1e-12, 2N log2 N nonzeros", f"{product.residual:.1e}, {excess:+d}", is_met, cpu_s)
    most = {("Hadamard", 4096): 12.0, ("DFT", 4096): 20.0}.get((name, n))
    if (name, n) == ("Hadamard", 1024):
        _, most = timed(lambda: np.linalg.svd(noisy(matrix, 0.1, 0).numpy()))
    if most:
        yield row(f"{name} {n}, time", f"{most:.2f} CPU s", f"{cpu_s:.2f}", cpu_s <= most, cpu_s)
    single = transforms.butterfly(matrix.to(torch.complex64 if matrix.is_complex() else torch.float32))
    yield row(f"{name} {n}, float32", "1e-6", f"{single.residual:.1e}", float(single.residual) <= 1e-6, None)


def rectangular(shape: tuple[int, int], n_factors: int, rank: int) -> Iterator[Row]:
    """Row 3: a Gaussian matrix by a chainable rectangular pattern."""
    matrix = np.random.default_rng(0).standard_normal(shape)
    theirs, pattern, peer_s = peer.rectangular(matrix, n_factors, rank)
    product, cpu_s = timed(lambda: transforms.butterfly(torch.from_numpy(matrix), pattern=pattern))
    case, got = f"{shape[0]} x {shape[1]}, {n_factors} factors, rank {rank}", f"{product.residual:.4f}"
    yield row(case, f"{theirs:.4f} x 1.001", got, product.residual <= theirs * 1.001, cpu_s, peer_s=peer_s)


def with_noise(name: str, n: int) -> Iterator[Row]:
    """Row 4: the error to the clean matrix, at most half the noise."""
    matrix = transform(name, n)
    for level in (0.01, 0.05, 0.1):
        dirty = noisy(matrix, level, 0)
        product, cpu_s = timed(partial(transforms.butterfly, dirty))
        found = error(product.dense(), matrix)
        yield row(f"{name} {n}, {level:.0%} noise", f"{level / 2:g}", f"{found:.2g}", found <= level / 2, cpu_s)


def unknown(name: str, n: int) -> Iterator[Row]:
    """Row 5: rows and columns permuted, signs flipped; over several seeds."""
    for level in (0.0, 0.01) if name == "Gaussian" else (0.0, 0.01, 0.05):
        errors, most = [], 0.0
        for seed in range(N_SEEDS):
            matrix = hidden(gaussian(n, seed) if name == "Gaussian" else transform(name, n), seed)
            product, cpu_s = timed(partial(transforms.recover, noisy(matrix, level, seed), noise=1))
            errors.append(error(product.dense(), matrix))
            most = max(most, cpu_s)
        limit = max(1e-10, level * (2 if name == "Gaussian" else 1))
        n_good, n_asked = sum(each <= limit for each in errors), 6 if name == "Gaussian" and level else N_SEEDS
        share, is_asked = f"{n_good} of {N_SEEDS}, largest {max(errors):.2g}", level < 0.05
        asked = f"{limit:g} in {n_asked} of {N_SEEDS}, 10 CPU s" if is_asked else f"{limit:g}: share given"
        is_met = not is_asked or (n_good >= n_asked and most <= 10)
        yield row(f"{name} {n}, {level:.0%} noise", asked, share, is_met, most)


def palm(n: int) -> Iterator[Row]:
    """Row 6: hierarchical PALM4MSA, with and without constraints on the residuals."""
    matrix, n_factors = transform("Hadamard", n) * sqrt(n), round(log2(n))
    asked: Any = {"n_factors": n_factors, "n_nonzeros": 2 * n * n_factors}
    most = {128: 10.0, 256: 120.0}.get(n)
    ways: dict[str, Any] = {
        "constrained": {"constraint": "splincol"},
        "free": {"constraint": "skperm", "residuals": "free"},
    }
    for name, own in ways.items():
        product, cpu_s = timed(partial(transforms.hierarchical, matrix, **asked, **own))
        limit = f", {most:.0f} CPU s" if most and name == "constrained" else ""
        is_met = product.residual <= 1e-12 and (not limit or most is None or cpu_s <= most)
        more = peer.hadamard(matrix.numpy(), name == "constrained") if n <= 64 else {}
        yield row(f"Hadamard {n}, residuals {name}", f"1e-12{limit}", f"{product.residual:.1e}", is_met, cpu_s, **more)


def weights(encoder: Path, name: str, index: int) -> Iterator[Row]:
    """Row 7: a weight of an encoder by three sparse factors; the first also by sparse plus low rank."""
    path, studied = MATRICES[name]
    matrix, density = load_file(encoder / "model.safetensors")[path].double(), DENSITIES[index]
    n_nonzeros, limit = int(density * matrix.numel()), studied[index] * 1.01
    product, cpu_s = timed(lambda: transforms.hierarchical(matrix, n_factors=3, n_nonzeros=n_nonzeros))
    theirs = peer.weights(matrix.numpy(), n_nonzeros)
    is_met = product.residual <= limit and cpu_s <= theirs.get("peer_s", cpu_s)
    got = f"{product.residual:.4f}"
    yield row(f"{name}, {density:.0%}", f"{limit:.4f}, peer's CPU s", got, is_met, cpu_s, **theirs)
    if name != "FFN-in L0":
        return
    n_low = int(0.2 * density * matrix.numel() / sum(matrix.shape))
    rank = (n_low, int(density * prod(matrix.shape)) - n_low * sum(matrix.shape))
    factors, cpu_s = timed(lambda: sparse_plus_low_rank.factor(matrix, rank=rank))
    found, most = error(sparse_plus_low_rank.rebuild(factors), matrix), SPARSE_PLUS_LOW_RANK[index]
    yield row(f"{name}, {density:.0%}, sparse plus low rank", f"{most}", f"{found:.4f}", found <= most, cpu_s)


def cases(encoder: Path) -> dict[str, Callable[[], Iterator[Row]]]:
    """Name every case by its row of the table."""
    both, found = ("Hadamard", "DFT"), dict[str, Callable[[], Iterator[Row]]]()
    for name in both:
        for n in (32, 64, 128, 256, 512, 1024, 4096):
            found[f"{1 if name == 'Hadamard' else 2}-{name}-{n}"] = partial(known, name, n)
    if peer.REASON is None:
        found |= {f"3-{shape[0]}x{shape[1]}": partial(rectangular, shape, *more) for shape, *more in RECTANGULAR}
    found |= {f"4-{name}-{n}": partial(with_noise, name, n) for name in both for n in (32, 64)}
    found |= {f"5-{name}-{n}": partial(unknown, name, n) for name in both for n in (32, 64, 128)}
    found |= {f"5-Gaussian-{n}": partial(unknown, "Gaussian", n) for n in (32, 64)}
    found |= {f"6-{n}": partial(palm, n) for n in (32, 64, 128, 256)}
    for name in MATRICES:
        for index, density in enumerate(DENSITIES):
            found[f"7-{name.replace(' ', '-')}-{density:g}"] = partial(weights, encoder, name, index)
    return found


def main() -> None:
    """Measure the cases that have no file yet, and print all that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", action="append", choices=list("1234567"))
    parser.add_argument("--case", help="only cases whose name contains this")
    parser.add_argument("--encoder", type=Path, default=Path("runs/minilm"), help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--pyfaust", help="folder that pip installed pyfaust into")
    parser.add_argument("--results", type=Path, default=Path("runs/transforms"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    peer.load(given.pyfaust)
    given.results.mkdir(parents=True, exist_ok=True)
    print(f"CPU: {platform.processor() or platform.machine()}, one thread; pyfaust: {peer.REASON or 'compared'}\n")
    print("| case | asked | got | met | CPU s | pyfaust | its CPU s |\n|---|---|---|---|---|---|---|")
    for name, measure in cases(given.encoder).items():
        if (given.row and name[0] not in given.row) or (given.case and given.case not in name):
            continue
        file = given.results / f"{name}.json"
        if not file.exists():
            write_json(file, list(measure()))
        for each in read_json(file):
            cpu, theirs, peer_s = (each.get(key) for key in ("cpu_s", "peer", "peer_s"))
            cells = [each["case"], each["asked"], each["got"], "yes" if each["is_met"] else "**no**", _number(cpu, 2)]
            print(f"| {' | '.join([*cells, theirs or '', _number(peer_s, 2)])} |", flush=True)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
