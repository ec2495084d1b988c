"""Factorizations beside their closed forms and tensorly: errors, parameters, times, predictions, exported graphs.

Run: python ../shared/models/make_minilm.py runs/minilm
     python benchmarks/factorizations.py runs/minilm [--part errors|whitened|trains|tied|speed] [--results FOLDER]

Every step prints a table, and keeps it in a JSON file: a step that has one is printed from there. Remove the file to
measure again. The part `speed` has a step for each layer, with predictions and what was exported. `errors` needs
tensorly, of the extra `dev`; with pyfaust `pytest tests/factorizations/test_against_pyfaust.py` compares.
"""

import argparse
import platform
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import tensorly
import torch
from factorization_speed import (
    CONVOLUTIONS,
    IMAGES,
    LINEAR,
    OPERATORS,
    TOKENS,
    convolution,
    linear,
    linear_forms,
    measure,
)
from factorization_tied import tied
from tensorly import decomposition
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from compressor.factorizations import (
    cp,
    kronecker,
    monarch,
    second_moment,
    svd,
    tensor_train,
    tt_to_cp,
    tucker,
)
from compressor.files import read_json, write_json
from compressor.measure.prices import Prices
from compressor.numerics.metric import PLAIN
from compressor.surgery.moments import Moments, recording

BUDGETS = (0.1, 0.25, 0.5)
MODES = (32, 48, 16, 24)  # of the 1536 x 384 matrix
LAYERS = {  # paths with the largest error at 25 % of the parameters
    "FFN-in L0": ("encoder.layer.0.intermediate.dense", 0.245),
    "FFN-in L5": ("encoder.layer.5.intermediate.dense", 0.293),
    "query L3": ("encoder.layer.3.attention.self.query", 0.382),
    "value L3": ("encoder.layer.3.attention.self.value", 0.501),
}
SPLITS = ("train[:12288]", "train[12288:14336]", "validation")  # to calibrate on, and held out: phrases, sentences
N_SEEDS = 8
N_ROUNDS = 15
CASES = [(6, 6, 4), (8, 4, 3), (8, 4, 4), (10, 4, 3)]  # order, size, rank
Row = dict[str, Any]


def errors(folder: str) -> Iterator[Row]:
    """Error of each method on the first layer of a real encoder, over the one of its peer, and the parameters."""
    net = AutoModel.from_pretrained(folder)
    weight = net.get_submodule("encoder.layer.0.intermediate.dense").weight.detach().double()
    tensor, third = weight.reshape(MODES), weight.reshape(32, 48, 384)
    for budget in BUDGETS:
        whole = budget * weight.numel()
        best = _of(svd, weight, whole, _tail(weight.numpy()), 1 + 1e-6, rank=svd.rank_for(weight.shape, budget=budget))
        yield {"name": "SVD", "peer": "closed form", "budget": budget, **best}
        own: Any = {"blocks": (4, 4), "rank": monarch.rank_for(weight.shape, budget=budget, blocks=(4, 4))}
        row = _of(monarch, weight, whole, _blocks(weight.numpy(), 4), 1 + 1e-6, **own)
        yield {"name": "Monarch 4x4", "peer": "closed form", "budget": budget, **row}
        own = {"shape": (16, 48), "rank": kronecker.rank_for(weight.shape, budget=budget, shape=(16, 48))}
        row = _of(kronecker, weight, whole, _tail(_rearranged(weight.numpy())), 1 + 1e-6, **own)
        yield {"name": "Kronecker 16x48", "peer": "closed form", "budget": budget, **row}
        links: Any = tensor_train.rank_for(MODES, budget=budget)
        row = _of(tensor_train, tensor, whole, _tensor_train, 1 + 1e-6, rank=links)
        yield {"name": "tensor train", "peer": "tensorly", "budget": budget, "over_svd": _over(row, best), **row}
        for name, divided in (("Tucker, 3 modes", third), ("Tucker, 4 modes", tensor)):
            core = tucker.rank_for(divided.shape, budget=budget, tensor=divided)
            row = _of(tucker, divided, whole, _tucker, 1.001, rank=core)
            yield {"name": name, "peer": "tensorly", "budget": budget, "over_svd": _over(row, best), **row}
    n_terms = cp.rank_for(third.shape, budget=0.1)
    row = _of(cp, third, 0.1 * weight.numel(), _cp, 1.01, rank=n_terms, n_iterations=150)
    yield {"name": "CP", "peer": "tensorly", "budget": 0.1, **row}


def _of(file: Any, tensor: Tensor, whole: float, peer: Callable[..., float], limit: float, **arguments: Any) -> Row:
    found = PLAIN.error(tensor, file.rebuild(file.factor(tensor, **arguments)))
    own = {name: value for name, value in arguments.items() if name != "n_iterations"}
    theirs = peer(tensor, arguments["rank"])
    n_params = file.n_params(tensor.shape, **own)
    return {
        "rank": arguments["rank"],
        "error": found,
        "of_peer": theirs,
        "limit": limit,
        "ratio": found / theirs,
        "params_left": n_params / whole - 1,
    }


def _over(row: Row, best: Row) -> float:
    return float(row["error"] / best["error"])


def _tail(matrix: Any) -> Callable[[Tensor, int], float]:
    """Error of the truncated SVD, from numpy's singular values."""
    values = np.linalg.svd(matrix, compute_uv=False)
    return lambda _, rank: float(np.linalg.norm(values[rank:]) / np.linalg.norm(values))


def _blocks(matrix: Any, n: int) -> Callable[[Tensor, int], float]:
    """Error of the truncated SVD of each block of a grid."""
    values = np.linalg.svd(
        np.stack([block for rows in np.split(matrix, n) for block in np.split(rows, n, axis=1)]), compute_uv=False
    )
    return lambda _, rank: float(np.linalg.norm(values[:, rank:]) / np.linalg.norm(values))


def _rearranged(matrix: Any) -> Any:
    """Rows of Van Loan's rearrangement: the blocks that the entries of a 16 x 48 factor scale."""
    n_rows, n_columns = matrix.shape[0] // 16, matrix.shape[1] // 48
    return matrix.reshape(16, n_rows, 48, n_columns).transpose(0, 2, 1, 3).reshape(16 * 48, -1)


def _relative(tensor: Tensor, rebuilt: Any) -> float:
    return PLAIN.error(tensor, torch.from_numpy(rebuilt))


def _tensor_train(tensor: Tensor, rank: Any) -> float:
    return _relative(tensor, tensorly.tt_to_tensor(decomposition.tensor_train(tensor.numpy(), list(rank))))


def _tucker(tensor: Tensor, rank: Any) -> float:
    found = decomposition.tucker(tensor.numpy(), list(rank), n_iter_max=50, tol=1e-12)
    return _relative(tensor, tensorly.tucker_to_tensor(found))


def _cp(tensor: Tensor, rank: int) -> float:
    found = decomposition.parafac(tensor.numpy(), rank, n_iter_max=150, init="svd", tol=0, random_state=0)
    return _relative(tensor, tensorly.cp_to_tensor(found))


def whitened(folder: str, dataset: str) -> Iterator[Row]:
    """Output error of SVDs at 25 % on sentences that they were not calibrated on, beside the optimum for these."""
    net, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    layers = {path: net.get_submodule(path) for path, _ in LAYERS.values()}
    seen = [_look(net, tokenizer, layers, datasets.load_dataset(dataset, split=split)) for split in SPLITS]
    for name, (path, limit) in LAYERS.items():
        weight = layers[path].weight.detach().double()
        rank = svd.rank_for(weight.shape, budget=0.25)
        calibrated, *others = (second_moment(moments[path].second) for moments in seen)
        for split, held_out in zip(SPLITS[1:], others, strict=True):
            plain, white, best = (
                held_out.error(weight, svd.rebuild(svd.factor(weight, rank=rank, metric=metric)))
                for metric in (None, calibrated, held_out)
            )
            found = {"plain": plain, "whitened": white, "optimum": best, "ratio": white / best, "limit": limit}
            yield {"name": name, "held out": split, **found}


@torch.no_grad()
def _look(net: nn.Module, tokenizer: Any, layers: Any, rows: Any) -> dict[str, Moments]:
    with recording(net, layers) as found:
        for batch in rows.iter(64):
            net(**tokenizer(batch["sentence"], padding=True, truncation=True, return_tensors="pt"))
    return found


def trains() -> Iterator[Row]:
    """Seeds from which CP by a tensor train, and CP from singular vectors, recover a planted tensor, and with noise."""
    for order, size, rank in CASES:
        found, alternating, noisy = [], [], []
        for seed in range(N_SEEDS):
            generator = torch.Generator().manual_seed(seed)
            draws = [torch.randn(size, rank, generator=generator, dtype=torch.float64) for _ in range(order)]
            clean = cp.rebuild(tuple(draws))
            found.append(PLAIN.error(clean, cp.rebuild(tt_to_cp.factor(clean, rank=rank))))
            alternating.append(PLAIN.error(clean, cp.rebuild(cp.factor(clean, rank=rank, n_iterations=500))))
            noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
            dirty = clean + 0.01 * noise * clean.norm() / noise.norm()
            ways = [tt_to_cp.factor(dirty, rank=rank), cp.factor(dirty, rank=rank, n_iterations=500)]
            noisy.append([PLAIN.error(clean, cp.rebuild(way)) for way in ways])
        yield {
            "name": f"order {order}, size {size}, rank {rank}",
            "recovered": sum(error <= 1e-8 for error in found),
            "largest": max(found),
            "recovered_by_cp": sum(error <= 1e-8 for error in alternating),
            "noisy_over_cp": max(own / min(own, peer) for own, peer in noisy),
            "noisy_largest": max(own for own, _ in noisy),
        }


def speed(results: Path) -> dict[str, Callable[[], Iterator[Row]]]:
    """Time ratios to dense layers, what is predicted of them, and the exported graphs: a step for each layer."""
    table = Prices(results / "operations.json")
    steps: dict[str, Callable[[], Iterator[Row]]] = {}
    for shape in LINEAR:
        name = f"{shape[0]}x{shape[1]}"
        steps[f"speed {name}"] = partial(_of_linear, name, shape, table)
    for n_channels, side in IMAGES:
        name = f"3x3, {n_channels} channels, {side}x{side}"
        steps[f"speed {name}"] = partial(_of_convolution, name, n_channels, side, table)
    return steps


def _of_linear(name: str, shape: tuple[int, int], table: Prices) -> Iterator[Row]:
    layers = [(form, linear(form, shape)) for form in linear_forms(shape)]
    inputs = {label: torch.randn(*tokens, shape[1]) for label, tokens in TOKENS.items()}
    for row in measure(nn.Linear(shape[1], shape[0], bias=False), layers, inputs, N_ROUNDS, table):
        yield {"layer": name, **row}


def _of_convolution(name: str, n_channels: int, side: int, table: Prices) -> Iterator[Row]:
    kernels = [(form, convolution(form, n_channels)) for form in CONVOLUTIONS]
    inputs = {"1 image": torch.randn(1, n_channels, side, side)}
    for row in measure(nn.Conv2d(n_channels, n_channels, 3, padding=1), kernels, inputs, N_ROUNDS, table):
        yield {"layer": name, **row}


def summary(rows: list[Row]) -> str:
    """Count the predictions that are near, name the worst layer that is kept, and the operators."""
    guessed = [row for row in rows if "predicted" in row]
    near = sum(abs(row["predicted"] / row["cold"] - 1) <= 0.25 for row in guessed)
    kept = max((row for row in guessed if row["predicted"] < 1), key=lambda row: row["cold"])
    used = {operator for row in guessed for operator in row["operators"]}
    return (
        f"predicted within 25 %: {near} of {len(guessed)}; slowest that is kept: {kept['name']}, {kept['layer']}, "
        f"{kept['input']}: {kept['cold']:.3f}; operators: {', '.join(sorted(used))}, "
        f"others than allowed: {', '.join(sorted(used - OPERATORS)) or 'none'}; "
        f"largest difference to torch: {max(row['gap'] for row in guessed):.1e}"
    )


def show(rows: list[Row]) -> None:
    """Print a Markdown table."""
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "operators"))
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for row in rows:
        print("| " + " | ".join(_cell(row.get(name)) for name in columns) + " |")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 1e-4 else f"{value:.4f}"
    return "" if value is None else str(value)


def main() -> None:
    """Measure the parts that have no file yet, and print all that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--part", action="append", choices=["errors", "whitened", "trains", "tied", "speed"])
    parser.add_argument("--dataset", default="../shared/data/sst2")
    parser.add_argument("--results", type=Path, default=Path("runs/factorizations"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.results.mkdir(parents=True, exist_ok=True)
    steps: dict[str, Callable[[], Iterator[Row]]] = {
        "errors": lambda: errors(given.encoder),
        "whitened": lambda: whitened(given.encoder, given.dataset),
        "trains": trains,
        "tied": tied,
        **speed(given.results),
    }
    timed: list[Row] = []
    for step in (step for step in steps if not given.part or step.split()[0] in given.part):
        file = given.results / f"{step.replace(' ', '-').replace(',', '')}.json"
        if not file.exists():
            write_json(file, list(steps[step]()))
        rows: list[Row] = read_json(file)
        print(f"\n{step} ({platform.processor() or platform.machine()}, one thread)\n")
        show(rows)
        timed += rows if step.startswith("speed") else []
    if timed:
        print("\n" + summary(timed))


if __name__ == "__main__":
    main()
