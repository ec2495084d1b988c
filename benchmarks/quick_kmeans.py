"""QuicK-means and kernel features: objective, parameters, accuracy of the nearest neighbour in a cluster, and time.

Run: python benchmarks/quick_kmeans.py ENCODER [--part clusters] [--part kernels] [--part times]

ENCODER is a folder of all-MiniLM-L6-v2, whose mean-pooled outputs of unit length are the embeddings of SST-2. Every row
is kept in runs/quick_kmeans.json, so a script that is stopped goes on where it was. The last lines draw the figure.
"""

import argparse
import io
import json
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import onnxruntime
import pyarrow.parquet
import torch
from matplotlib import pyplot
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.kernel_approximation import Nystroem, RBFSampler
from sklearn.metrics import pairwise_distances_argmin
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import LinearSVC

from compressor.transforms import Fastfood, FastNystroem, QuicKMeans, SparseProduct
from compressor.transforms.rows import SparseRows

RESULTS = Path("runs/quick_kmeans.json")
SHARED = Path("../shared/data")
SIZES = {"digits": 30, "SST-2 embeddings": 64, "CIFAR-10, grey": 128}  # numbers of clusters
SHARES = (0.1, 0.05)  # of the numbers of dense centroids
SEEDS = (0, 1, 2)
MAX_ITER = 30
SHAPES = ((64, 384), (128, 1024), (512, 1024), (1024, 4096))  # of centroids that are timed
N_VECTORS = (1, 32, 1000)
Split = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def digits() -> tuple[Split, Split]:
    """1,437 images of 8 x 8 to search, 360 to look for."""
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.astype(np.float32) / 16
    return (pixels[:1437], labels[:1437]), (pixels[1437:], labels[1437:])


def cifar() -> tuple[Split, Split]:
    """10,000 grey images of 32 x 32 to search, 10,000 to look for."""
    return _images("train", 10_000), _images("test", 10_000)


def _images(split: str, n: int) -> Split:
    rows = pyarrow.parquet.read_table(SHARED / f"cifar10/data/{split}-00000-of-00001.parquet").slice(0, n)
    grey = [Image.open(io.BytesIO(cell["bytes"].as_py())).convert("L") for cell in rows["img"]]
    pixels = np.stack([np.asarray(image, dtype=np.float32).ravel() / 255 for image in grey])
    return pixels, rows["label"].to_numpy()


def sst2(encoder: str) -> tuple[Split, Split]:
    """Embeddings of 10,000 phrases of the training split to search, of 872 sentences to look for."""
    return _embedded(encoder, "train", 10_000), _embedded(encoder, "validation", 872)


@torch.no_grad()
def _embedded(encoder: str, split: str, n: int) -> Split:
    from transformers import AutoModel, AutoTokenizer

    cache = RESULTS.with_name(f"sst2-{split}-{n}.npz")
    if cache.is_file():
        with np.load(cache) as kept:
            return kept["vectors"], kept["labels"]
    net: Any = AutoModel.from_pretrained(encoder)
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    rows = pyarrow.parquet.read_table(SHARED / f"sst2/data/{split}-00000-of-00001.parquet").slice(0, n)
    texts, found = rows["sentence"].to_pylist(), []
    for start in range(0, len(texts), 64):
        batch = tokenizer(texts[start : start + 64], return_tensors="pt", padding=True, truncation=True)
        mask = batch["attention_mask"].unsqueeze(-1)
        pooled = (net(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
        found.append(torch.nn.functional.normalize(pooled).numpy())
    vectors, labels = np.concatenate(found), rows["label"].to_numpy()
    np.savez(cache, vectors=vectors, labels=labels)
    return vectors, labels


def in_cluster(model: Any, searched: Split, queries: Split) -> tuple[float, float]:
    """Accuracy of the nearest neighbour that is sought in the cluster of the query alone, and the share searched."""
    own = model.predict(searched[0])
    occupied = np.unique(own)
    theirs = occupied[model.transform(queries[0])[:, occupied].argmin(axis=1)]
    right = n_compared = 0
    for cluster in occupied:
        members, asked = own == cluster, theirs == cluster
        if asked.any():
            nearest = pairwise_distances_argmin(queries[0][asked], searched[0][members])
            right += int((searched[1][members][nearest] == queries[1][asked]).sum())
            n_compared += int(members.sum()) * int(asked.sum())
    return right / len(queries[1]), n_compared / len(queries[1]) / len(own)


def row_of(name: str, model: Any, n_numbers: int, searched: Split, queries: Split) -> dict[str, Any]:
    """Fit a model, and say how well it does."""
    start = time.process_time()
    model.fit(searched[0])
    seconds = time.process_time() - start
    accuracy, share = in_cluster(model, searched, queries)
    return {
        "method": name,
        "inertia": float(model.inertia_),
        "n_numbers": n_numbers or model.product_.n_nonzeros,
        "accuracy": accuracy,
        "searched": share,
        "seconds": seconds,
        "n_iter": int(model.n_iter_),
        "rises": 0 if n_numbers else sum(after > before * (1 + 1e-6) for before, after in pairwise(model.inertias_)),
    }


def models(n_clusters: int, n_features: int, seed: int) -> dict[str, tuple[Callable[[], Any], int]]:
    """Name the models, each with how it is made and its number of parameters, or 0 if fitting tells."""
    dense = n_clusters * n_features
    found: dict[str, tuple[Callable[[], Any], int]] = {
        "K-means": (lambda: KMeans(n_clusters, n_init=1, random_state=seed), dense),
        "K-means, a tenth of the clusters": (
            lambda: KMeans(n_clusters // 10, n_init=1, random_state=seed),
            n_clusters // 10 * n_features,
        ),
    }
    for share in SHARES:
        n_nonzeros = int(share * dense)
        make = partial(QuicKMeans, n_clusters, n_nonzeros=n_nonzeros, max_iter=MAX_ITER, random_state=seed)
        found[f"QuicK-means, {share:.0%}"] = (make, 0)
    return found


def clusters(results: dict[str, Any], encoder: str) -> None:
    """Fit every model on every data set, and print the table."""
    data = {"digits": digits, "SST-2 embeddings": lambda: sst2(encoder), "CIFAR-10, grey": cifar}
    for title, n_clusters in SIZES.items():
        searched, queries = data[title]()
        print(f"\n{title}: {len(searched[0])} x {searched[0].shape[1]}, {n_clusters} clusters")
        nearest = pairwise_distances_argmin(queries[0], searched[0])
        print(f"1-NN among all: {(searched[1][nearest] == queries[1]).mean():.4f}")
        print("| method | numbers | objective / K-means | 1-NN accuracy, each seed | searched | rises | CPU s |")
        print("|---|---|---|---|---|---|---|")
        for name in models(n_clusters, searched[0].shape[1], 0):
            rows = []
            for seed in SEEDS:
                key = f"{title}|{name}|{seed}"
                if key not in results:
                    make, n_numbers = models(n_clusters, searched[0].shape[1], seed)[name]
                    results[key] = row_of(name, make(), n_numbers, searched, queries)
                    RESULTS.write_text(json.dumps(results, indent=1))
                rows.append(results[key])
            baseline = np.mean([results[f"{title}|K-means|{seed}"]["inertia"] for seed in SEEDS])
            mean = {key: np.mean([row[key] for row in rows]) for key in rows[0] if key != "method"}
            each = ", ".join(f"{row['accuracy']:.4f}" for row in rows)
            cells = (
                name,
                f"{rows[0]['n_numbers']:,}",
                f"{mean['inertia'] / baseline:.3f}",
                f"{mean['accuracy']:.4f} ({each})",
                f"{mean['searched']:.1%}",
                f"{sum(row['rises'] for row in rows)}",
                f"{mean['seconds']:.1f}",
            )
            print(f"| {' | '.join(cells)} |", flush=True)


def median_ms(run: Callable[[], object], n_runs: int = 30) -> float:
    """Median processor time of a call, in ms."""
    run()
    times = []
    for _ in range(n_runs):
        start = time.thread_time()
        run()
        times.append(time.thread_time() - start)
    return 1e3 * float(np.median(times))


def session_of(matrices: list[np.ndarray[Any, Any]]) -> onnxruntime.InferenceSession:
    """Make a graph that multiplies by matrices one after another."""
    names = ["x", *(f"y{index}" for index in range(len(matrices)))]
    weights = [numpy_helper.from_array(each, f"w{index}") for index, each in enumerate(matrices)]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(len(matrices))]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in ((names[0], matrices[0].shape[0]), (names[-1], matrices[-1].shape[1]))
    ]
    graph = helper.make_graph(nodes, "product", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def timed(shape: tuple[int, int]) -> list[dict[str, Any]]:
    """Time the products of vectors with random centroids of a shape, dense and of two factors with a tenth of it."""
    n_rows, n_columns = shape
    random = np.random.default_rng(0)
    dense = random.standard_normal(shape, dtype=np.float32)
    factors = [
        _sparse(random, (n_rows, n_rows), n_rows * n_columns // 200),
        _sparse(random, shape, n_rows * n_columns // 11),
    ]
    rows = SparseRows(SparseProduct(tuple(torch.from_numpy(each) for each in factors), 0.0), np.float32)
    single, chain = (
        session_of([np.ascontiguousarray(dense.T)]),
        session_of([np.ascontiguousarray(each.T) for each in factors[::-1]]),
    )
    runs: dict[str, Callable[[Any], object]] = {
        "numpy_ms": lambda vectors: vectors @ dense.T,
        "scipy, sparse": rows.inner,
        "ORT, dense": lambda vectors: single.run(None, {"x": vectors}),
        "ORT, factors with zeros": lambda vectors: chain.run(None, {"x": vectors}),
    }
    found = []
    for n in N_VECTORS:
        vectors = random.standard_normal((n, n_columns), dtype=np.float32)
        spent = {name: median_ms(partial(run, vectors)) for name, run in runs.items()}
        ratios = {name: own / spent["numpy_ms"] for name, own in spent.items() if name != "numpy_ms"}
        found.append({"shape": shape, "n": n, "numpy_ms": spent["numpy_ms"], **ratios})
    return found


def _sparse(random: np.random.Generator, shape: tuple[int, int], n_nonzeros: int) -> np.ndarray[Any, Any]:
    matrix = np.zeros(shape[0] * shape[1], dtype=np.float32)
    matrix[random.choice(matrix.size, n_nonzeros, replace=False)] = random.standard_normal(n_nonzeros)
    return matrix.reshape(shape)


def times(results: dict[str, Any]) -> None:
    """Print how long an assignment's products take, relative to numpy's dense one."""
    columns = ("scipy, sparse", "ORT, dense", "ORT, factors with zeros")
    print(f"\n| centroids | vectors | numpy dense, ms | {' | '.join(columns)} |")
    print(f"|---|---|---|{'---|' * len(columns)}")
    for shape in SHAPES:
        key = f"times|{shape}"
        if key not in results:
            results[key] = timed(shape)
            RESULTS.write_text(json.dumps(results, indent=1))
        for row in results[key]:
            cells = " | ".join(f"{row[name]:.2f}" for name in columns)
            print(f"| {shape[0]} x {shape[1]} | {row['n']:,} | {row['numpy_ms']:.3f} | {cells} |")


def kernels(results: dict[str, Any]) -> None:
    """Print the error of features for the Gaussian kernel of digits, and what they store."""
    (samples, labels), (tests, test_labels) = digits()
    gamma = 0.05
    exact = rbf_kernel(tests, gamma=gamma)
    print("\n| features | numbers stored | kernel error, each seed | accuracy of a linear SVM |")
    print("|---|---|---|---|")
    for n in (64, 256):
        fourier, dense = n * 64 + n, n * 64 + n * n
        sizes: dict[str, Any] = {"gamma": gamma, "n_components": n}
        fifth = n * 64 // 5
        made: dict[str, tuple[Callable[..., Any], int]] = {
            "Nystroem": (partial(Nystroem, **sizes), dense),
            "FastNystroem, 20 %": (partial(FastNystroem, n_nonzeros=fifth, max_iter=10, **sizes), fifth + n * n),
            "RBFSampler": (partial(RBFSampler, **sizes), fourier),
            "Fastfood": (partial(Fastfood, **sizes), 5 * n),
        }
        for name, (make, n_numbers) in made.items():
            errors, accuracies = [], []
            for seed in SEEDS:
                key = f"kernels|{name}|{n}|{seed}"
                if key not in results:
                    features = make(random_state=seed).fit(samples)
                    mapped = features.transform(tests)
                    error = float(np.linalg.norm(mapped @ mapped.T - exact) / np.linalg.norm(exact))
                    machine = LinearSVC(random_state=0).fit(features.transform(samples), labels)
                    results[key] = {"error": error, "accuracy": float(machine.score(mapped, test_labels))}
                    RESULTS.write_text(json.dumps(results, indent=1))
                errors.append(results[key]["error"])
                accuracies.append(results[key]["accuracy"])
            each = ", ".join(f"{error:.4f}" for error in errors)
            print(f"| {name}, {n} | {n_numbers:,} | {each} | {np.mean(accuracies):.3f} |", flush=True)


def draw(results: dict[str, Any]) -> None:
    """Draw accuracy against numbers, a panel per data set."""
    mpl.rcParams["svg.hashsalt"] = "compressor"  # the same file each time
    figure, panels = pyplot.subplots(1, len(SIZES), figsize=(11, 3), layout="constrained")
    for panel, title in zip(panels, SIZES, strict=True):
        for label, mark in (("K-means", "s"), ("QuicK-means", "o")):
            rows = [row for key, row in results.items() if key.startswith(f"{title}|{label}")]
            points = {
                n: [row["accuracy"] for row in rows if row["n_numbers"] == n] for n in {r["n_numbers"] for r in rows}
            }
            sizes = sorted(points)
            means = [100 * np.mean(points[n]) for n in sizes]
            panel.semilogx(
                sizes, means, mark, linestyle="-" if "Quic" in label else "--", label=label, fillstyle="none"
            )
        panel.set(title=title, xlabel="numbers of the centroids")
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("1-NN accuracy in the cluster, %")
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(Path(__file__).parents[1] / "docs" / "images" / "quick_kmeans.svg", metadata={"Date": None})


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder")
    parser.add_argument("--part", action="append", choices=["clusters", "kernels", "times"])
    given = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    if not given.part or "clusters" in given.part:
        clusters(results, given.encoder)
        draw(results)
    if not given.part or "kernels" in given.part:
        kernels(results)
    if not given.part or "times" in given.part:
        times(results)


if __name__ == "__main__":
    main()
