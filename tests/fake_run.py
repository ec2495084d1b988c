"""A run directory that exists on paper, and what a bench of today brings back from a board."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ACCURACY = {"original fp32": 0.8945, "original int8": 0.8979, "compressed fp32": 0.8876, "compressed int8": 0.8853}
P50_MS = {
    "original fp32": (9.1, 30.7),
    "original int8": (3.9, 13.1),
    "compressed fp32": (1.66, 6.1),
    "compressed int8": (0.88, 3.06),
}
SIZE_BYTES = {
    "original fp32": 91_300_000,
    "original int8": 23_300_000,
    "compressed fp32": 54_500_000,
    "compressed int8": 13_700_000,
}
RECIPE: dict[str, Any] = {
    "seed": 0,
    "model": {"checkpoint": "org/dense", "config": None, "task": "text-classification"},
    "data": {"dataset": "stanfordnlp/sst2"},
    "stages": [
        {"stage": "drop_layers", "keep": [0, 2, 5]},
        {"stage": "project"},
        {"stage": "export"},
        {"stage": "quantize"},
    ],
    "gates": {"max_accuracy_drop": 0.01, "max_p50_ratio": 0.6, "max_size_ratio": None, "max_energy_ratio": None},
}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def entries(name: str) -> list[dict[str, Any]]:
    """What the bench writes for one file: two lengths, one thread, no meter."""
    made = []
    for length, p50 in zip((32, 128), P50_MS[name], strict=True):
        shape = {"batch_size": 1, "length": length, "threads": 1, "n_flops": 700_000_000 * length // 32}
        times = {"p50_ms": p50, "p90_ms": 1.06 * p50, "p99_ms": 1.2 * p50, "mean_ms": 1.02 * p50}
        energy = {
            "kind": "unavailable",
            "net_j": None,
            "gross_j": None,
            "low": None,
            "high": None,
            "reason": "no meter",
        }
        made.append({**shape, **times, "throughput_per_s": 980 / p50, "n_runs": 1000, "energy": energy})
    return made


def variant(name: str, file: str) -> dict[str, Any]:
    """A file as the first versions of the bench wrote it: `quantized` in place of a precision."""
    facts = {"kind": "original" if name.startswith("original") else "result", "quantized": name.endswith("int8")}
    rated = {"accuracy": ACCURACY[name], "n_examples": 872, "split": "validation", "n_params": 22_700_000}
    weighed = {"size_bytes": SIZE_BYTES[name], "load_ms": 80.0, "peak_memory_bytes": 141_000_000}
    return {"name": name, "file": file, **facts, **rated, **weighed, "bench": entries(name)}


def environment() -> dict[str, Any]:
    versions = {"python": "3.11.7", "compressor": "0.1.0", "onnxruntime": "1.31.1"}
    cpu = {"model": "AMD EPYC", "flags": ["avx2", "avx512_vnni", "fpu"]}
    return {"versions": versions, "cpu": cpu, "n_cores": 2, "seed": 0, "git_commit": None, "date": "2026-11-21"}


def model_facts(n_units: dict[str, int], layers: list[int], accuracy_held_out: float, **changes: Any) -> dict[str, Any]:
    """What the pipeline records of a model."""
    widths = {f"layer.{i}.{kind}": size for i in range(len(layers)) for kind, size in n_units.items()}
    size = {"n_params": 22_700_000, "n_flops": {"1x32": 700_000_000, "1x128": 2_900_000_000}, "size_bytes": 90_800_000}
    zeros = {"sparsity": 0.0, "column_sparsity": 0.0}
    return {**size, **zeros, "widths": widths, "layers": layers, "accuracy_held_out": accuracy_held_out} | changes


def finish(folder: Path, stage: str, seconds: float, facts: dict[str, Any]) -> None:
    write(folder / "done.json", {"key": folder.name, "stage": stage, "seconds": seconds, "facts": facts})


def unfinished_run(folder: Path) -> Path:
    """A run that stopped after two of its four stages."""
    run = folder / "sst2"
    origin = {"source": "org/dense", "recipe_file": "sst2.yaml", "recipe_digest": "0", "version": "0.1.0"}
    write(run / "run.json", {"format": 1, "environment": environment(), **origin})
    (run / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    files = {
        name: {"accuracy": ACCURACY[kind], "n_examples": 872, "split": "validation", "size_bytes": SIZE_BYTES[kind]}
        for name, kind in (("model.onnx", "original fp32"), ("model-int8.onnx", "original int8"))
    }
    original = model_facts({"heads": 12, "ffn": 1536}, [0, 1, 2, 3, 4, 5], 0.9012)
    write(run / "original/done.json", {"key": "0", "facts": {**original, "files": files}})
    small = {"n_params": 17_400_000, "n_flops": {"1x32": 350_000_000, "1x128": 1_400_000_000}, "size_bytes": 69_600_000}
    finish(
        run / "00-drop_layers", "drop_layers", 4.0, model_facts({"heads": 12, "ffn": 1536}, [0, 2, 5], 0.71, **small)
    )
    finish(run / "01-project", "project", 410.0, cut_facts())
    kept = {"kept_layers": [0, 2, 5]}  # a stage may log what belongs to no round
    log = [
        {"round": i, "dead_units": 500 * i, "units": 4644, "loss": 0.9 - 0.05 * i, "accuracy_held_out": 0.8 + 0.01 * i}
        for i in range(8)
    ]
    (run / "01-project/rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [kept, *log]))
    return run


def cut_facts() -> dict[str, Any]:
    small = {"n_params": 13_400_000, "n_flops": {"1x32": 120_000_000, "1x128": 560_000_000}, "size_bytes": 53_600_000}
    return model_facts({"heads": 4, "ffn": 384}, [0, 2, 5], 0.88, **small)


def finished_run(folder: Path) -> Path:
    """A run whose files were measured, by a bench of the first version."""
    run = unfinished_run(folder)
    for place, name in (("02-export", "compressed fp32"), ("03-quantize", "compressed int8")):
        of_file = {"accuracy": ACCURACY[name], "n_examples": 872, "split": "validation", "size_bytes": SIZE_BYTES[name]}
        stage = place.partition("-")[2]
        finish(run / place, stage, 14.0, {**cut_facts(), **of_file, "file": f"{place}/model.onnx"})
    files = ("original/model.onnx", "original/model-int8.onnx", "02-export/model.onnx", "03-quantize/model.onnx")
    variants = [variant(name, file) for name, file in zip(ACCURACY, files, strict=True)]
    write(run / "bench.json", {"format": 1, "environment": environment(), "variants": variants})
    return run


def host(**changes: Any) -> dict[str, Any]:
    """What a bench of today says of a machine."""
    versions = {"python": "3.13.5", "numpy": "2.3.1", "onnxruntime": "1.23.0"}
    cpu = {"model": "Raspberry Pi 5", "flags": ["asimd", "asimddp"]}
    state = {"governor": "ondemand", "temperature_c": 61.2, "is_emulated": False, "date": "2026-11-20"}
    return {"versions": versions, "cpu": cpu, "n_cores": 4, **state, **changes}


def energy(kind: str, net_j: float | None, **changes: Any) -> dict[str, Any]:
    """What a bench of today says of joules."""
    if net_j is None:
        return {"kind": kind, **dict.fromkeys(("net_j", "gross_j", "low", "high")), "reason": "no meter", **changes}
    times = {"mean_w": 5.5, "inferences_per_s": 33.25, "edp_js": 0.07 * net_j, "idle_w": 2.5, "n_windows": 5}
    origin: dict[str, Any] = {
        "meter": "pmic" if kind == "measured" else "profile by pmic",
        "scope": "board",
        "warnings": [],
    }
    bounds = {"gross_j": 1.7 * net_j, "low": 0.93 * net_j, "high": 1.07 * net_j}
    return {"kind": kind, "net_j": net_j, **bounds, **times, **origin, **changes}


def board(kinds: Mapping[tuple[str, int], str] | None = None, **changes: Any) -> dict[str, Any]:
    """What a board brings back of the files of `finished_run`: four shapes, other times, joules of some kinds.

    Parameters
    ----------
    kinds : mapping from name of a file and index of a shape to the kind of its joules; measured by default
    """
    kinds = kinds or {}
    variants = []
    for name in ACCURACY:
        bench = []
        for index, (batch_size, length, threads) in enumerate(((1, 32, 1), (1, 128, 1), (8, 32, 1), (1, 32, 4))):
            p50 = 7.31 * P50_MS[name][0] * (batch_size * length / 32) ** 0.97 / threads**0.8
            kind = kinds.get((name, index), "measured")
            bench.append(
                {
                    "batch_size": batch_size,
                    "length": length,
                    "threads": threads,
                    "scenario": "SingleStream" if batch_size == 1 else "Offline",
                    "n_flops": 21_370_000 * batch_size * length,
                    "p50_ms": p50,
                    "p90_ms": 1.13 * p50,
                    "p99_ms": 1.57 * p50,
                    "mean_ms": 1.06 * p50,
                    "cpu_ms": 0.97 * threads * p50,
                    "throughput_per_s": batch_size * 943 / p50,
                    "n_runs": 431 + index,
                    "n_instructions": None,
                    "energy": energy(kind, None if kind == "unavailable" else 3.3e-3 * p50),
                }
            )
        facts = {"size_bytes": SIZE_BYTES[name], "load_ms": 312.0, "peak_memory_bytes": 98_000_000}
        variants.append({"name": name, "file": f"{name}.onnx", **facts, "output_difference": 2.5e-7, "bench": bench})
    return {"format": 1, "environment": host(**changes), "seed": 0, "variants": variants}


def emulated() -> dict[str, Any]:
    """What comes back from a processor that is emulated: nothing is timed."""
    found = board(is_emulated=True, governor=None, temperature_c=None)
    unknown: dict[str, Any] = {"load_ms": None, "peak_memory_bytes": None, "bench": []}
    return found | {"variants": [variant | unknown for variant in found["variants"]]}
