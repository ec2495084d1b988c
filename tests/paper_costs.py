"""A cost table that exists on paper: what the bench writes of uniformly cut copies of a network of two layers."""

from typing import Any

from compressor.bench import host
from compressor.surgery import Cut, Width

KINDS: Any = (("heads", "head", 4), ("ffn", "neuron", 100))
WIDTHS = [
    Width(f"layer.{i}.{what}", kind, size, (Cut("a", "out"),), (Cut("b", "in"),), layer=f"layer.{i}")
    for i in (0, 1)
    for what, kind, size in KINDS
]
SIZES = {width.name: width.size for width in WIDTHS}
ENERGY = {"kind": "unavailable", "net_j": None, "gross_j": None, "low": None, "high": None}


def entry(ms):
    times = dict.fromkeys(("p50_ms", "p90_ms", "p99_ms", "mean_ms", "cpu_ms"), ms)
    point = {"batch_size": 1, "length": 32, "threads": 1, "scenario": "SingleStream", "n_flops": None}
    blocks = {"block_p50_ms": [ms] * 5, "block_cpu_ms": [ms] * 5}
    rest = {"throughput_per_s": 1.0, "n_runs": 5, "is_shared": False, "n_instructions": None, "energy": ENERGY}
    return {**point, **times, **blocks, **rest}


def variant(name, ms, **counts):
    widths = {**SIZES, **{key.replace("_", "."): n for key, n in counts.items()}}
    facts = {"kind": "result", "file": name, "precision": "fp32", "n_params": 10, "size_bytes": 1}
    load = {"load_ms": None, "load_range_ms": None, "peak_memory_bytes": None, "output_difference": None}
    return {"name": name, **facts, **load, "widths": widths, "bench": [entry(ms)]}


def result(cpu=None):
    environment = {
        "cpu": {"model": cpu or host.cpu()["model"], "flags": []},
        "versions": {"python": "3.13.5", "numpy": "2.3.1", "onnxruntime": "1.31.1"},
        "n_cores": 1,
        "governor": None,
        "temperature_c": None,
        "is_emulated": False,
        "date": None,
    }
    variants = [
        variant("original", 10.0),
        variant("copy 0", 8.0, layer_0_heads=2, layer_1_heads=2),
        variant("copy 1", 7.0, layer_0_heads=1, layer_1_heads=1),
        variant("copy 2", 6.0, layer_0_ffn=50, layer_1_ffn=50),
    ]
    return {"format": 1, "environment": environment, "seed": 0, "variants": variants}
