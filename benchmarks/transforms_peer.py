"""pyfaust's answers to the cases of transforms.py, if it can be imported."""

import importlib
import sys
import time
import warnings
from math import prod
from typing import Any

import numpy as np

REASON: str | None = "not looked for"
N_ITERATIONS = 40  # of each run of PALM4MSA on weights, as in our study
fact: Any = None
factparams: Any = None
proj: Any = None
chains: Any = None


def load(folder: str | None) -> None:
    """Import pyfaust, from a folder if one is given; `REASON` says why it is not there, else it is None."""
    global REASON, fact, factparams, proj, chains
    if folder:
        sys.path.insert(0, folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of einops, which it does without
            fact, factparams, proj = (
                importlib.import_module(f"pyfaust.{name}") for name in ("fact", "factparams", "proj")
            )
            chains = importlib.import_module("pyfaust.fdb.GB_param_generate")
        REASON = None
    except ImportError as error:
        REASON = f"skipped: {error}"


def _error(matrix: np.ndarray, found: Any) -> float:
    return float(np.linalg.norm(found.toarray() - matrix) / np.linalg.norm(matrix))


def rectangular(matrix: np.ndarray, n_factors: int, rank: int) -> tuple[float, list[tuple[int, ...]], float]:
    """Give its error by a deformable butterfly, the pattern of that, and the CPU seconds."""
    start = time.process_time()
    found = fact.fdb(matrix, n_factors=n_factors, rank=rank, hierarchical_order="balanced")
    cpu_s = time.process_time() - start
    generated = chains.DebflyGen(*matrix.shape, rank)
    _, sizes = generated.smallest_monotone_debfly_chain(n_factors, format="abcdpq")
    return _error(matrix, found), [(a, b * p, c * q, d) for a, b, c, d, p, q in sizes], cpu_s


def hadamard(matrix: np.ndarray, is_constrained: bool) -> dict[str, Any]:
    """Give its error by hierarchical PALM4MSA with its own settings for Hadamard matrices."""
    if REASON is not None:
        return {}
    name = "ParamsHierarchicalWHT" if is_constrained else "ParamsHierarchicalWHTNoResCons"
    return _hierarchical(matrix, getattr(factparams, name)(len(matrix).bit_length() - 1))


def weights(matrix: np.ndarray, n_nonzeros: int) -> dict[str, Any]:
    """Give its error by three factors: a tenth of the entries in each small one, twice as many in the residual."""
    if REASON is not None:
        return {}
    is_wide = matrix.shape[0] < matrix.shape[1]
    tall = matrix.T.copy() if is_wide else matrix
    n, n_own = tall.shape[1], n_nonzeros // 10
    sets = [proj.sp(tall.shape, n_nonzeros - 2 * n_own), proj.sp((n, n), min(n_own, n * n))]
    residuals = [proj.sp((n, n), min(2 * n_own, n * n)), proj.sp((n, n), min(n_own, n * n))]
    assert prod(tall.shape) >= n_nonzeros
    stop = factparams.StoppingCriterion(num_its=N_ITERATIONS)
    return _hierarchical(tall, factparams.ParamsHierarchical(sets, residuals, stop, stop, packing_RL=False))


def _hierarchical(matrix: np.ndarray, parameters: Any) -> dict[str, Any]:
    start = time.process_time()
    found = fact.hierarchical(matrix, parameters, backend=2020)
    return {"peer": f"{_error(matrix, found):.2g}", "peer_s": time.process_time() - start}


def noisy(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Give its approximations of a noisy transform: hierarchical PALM4MSA, if real, and its butterfly."""
    if REASON is not None:
        return {}
    found = {"pyfaust butterfly": fact.butterfly(matrix, type="bbtree").toarray()}
    if not np.iscomplexobj(matrix):
        parameters = factparams.ParamsHierarchicalWHT(len(matrix).bit_length() - 1)
        found["pyfaust PALM4MSA"] = fact.hierarchical(matrix, parameters, backend=2020).toarray()
    return found
