"""The kinds of spoiled inputs, one function each: it spoils the current folder and gives the arguments to run."""

import json
import os
import shutil
import zipfile
from pathlib import Path
from random import Random
from typing import Any

from . import sound
from .judge import Spoil
from .mutate import spoiled_bytes, spoiled_json, spoiled_tree

SHARES = (0, 0.01, 0.5, 0.99, 1, "1%", "120%", -0.1, None)
COUNTS = (1, 2, 3, 7, 0, -1, 1.5, "2", None, True)
SETTINGS: dict[str, tuple[Any, ...]] = {
    "seed": (0, 1, 2**32 - 1, 2**32, -1, 0.5),
    "model.task": ("text-classification", "image-classification", "tabular-classification", "sentiment-analysis", ""),
    "data.held_out": SHARES,
    "data.max_length": (2, 3, 8, 40, 10**9, 1),
    "data.train_split": ("train", "test", "", None),
    "data.report_split": ("train", "validation", None),
    "data.labels": ({"negative": 0, "positive": 1}, {"negative": 1}, {0: 0}, {}, {"negative": "a", "positive": "b"}),
    "data.columns.text": ("sentence", "label", "nowhere", 3),
    "data.columns.label": ("sentence", "label", "nowhere"),
    "data.mirror": (True, False, 1),
    "data.augment": ({}, {"copies": 1}, {"copies": 3, "join": 1, "replace": 1}, {"copies": 0}, {"replace": 2}),
    "bench.lengths": ([1], [8, 32], [33], [], [8, 8], 8),
    "bench.batch_sizes": ([1], [2, 1], [0], []),
    "bench.threads": ([1], [2], [10**5], [0]),
    "gates.max_accuracy_drop": SHARES,
    "gates.max_size_ratio": (0.01, 1, 100, 0, -1),
    "stages.0.ball": ("l1", "l2", "linf", "l1_inf", "l1_2", "l1_1", "nuclear", "none"),
    "stages.0.widths": (["*.ffn"], ["*"], ["*.heads"], ["*.residual"], ["x"], [], ["*.ffn", "*.heads"]),
    "stages.0.column_sparsity": SHARES,
    "stages.0.radius": (0, 0.1, 100, -1),
    "stages.0.scope": ("global", "width", "x"),
    "stages.0.min_units": (0, 1, 2, 12, 13, 99, 0.5, 1.0, 0.001),
    "stages.0.rounds": COUNTS,
    "stages.0.protocol": ("double_descent", "gradual", "rewind", "x"),
    "stages.0.importance": (
        "activation",
        "taylor",
        "none",
        "fisher",
        "hessian",
        "hard_concrete",
        "movement",
        "random",
        "x",
    ),
    "stages.0.retrain.steps": COUNTS,
    "stages.0.retrain.batch_size": (1, 8, 1000, 0),
    "stages.0.retrain.lr": (1e-9, 1e-3, 10, 1e30, 0),
    "stages.0.retrain.freeze": (["*"], ["*bias"], ["x"], []),
    "stages.0.retrain.warmup": SHARES,
    "stages.0.retrain.distill": ({}, {"logits": 0}, {"hidden_states": 1.0}, {"attention_relations": 1.0}),
    "stages.0.retrain.distill.temperature": (0, 1e-9, 1e9),
    "stages.1.multiple_of": (1, 2, 8, 1000, 0),
    "stages.1.allow_empty": (True, False),
    "stages.2.parity_atol": (1e-30, 1, 0),
}
ODD_WORDS = (
    *("", "0", "-1", "1e9", "99999", "9" * 21, "nan", "inf", "x", "x" * 255, "a/" * 200 + "b", "\udcff", "a\nb"),
    *("/dev/zero", "/proc/self/mem", "..", "bert"),
)
BENCH_OPTIONS = (
    *("--threads", "--length", "--batch-size", "--seconds", "--shape", "--meter", "--inputs", "--energy-model"),
    *("--memory-limit", "--python", "--counter"),
)
GATE_OPTIONS = ("--margin", "--budget", "--threads", "--max-bytes", "--inputs", "--max-difference", "--length")
RUN_COMMANDS = ("report", "report", "resume", "inspect", "gate", "bench", "bundle")
LINKS = ("/dev/zero", "/dev/null", "..", "nowhere", "/etc/hostname")


def recipe(rng: Random) -> list[str]:
    """A recipe with odd keys and values, checked."""
    name = rng.choice(list(sound.RECIPES))
    Path(name).write_bytes(spoiled_json(rng, Path(name).read_text()))
    return ["check", name, "--json"]


def setting(rng: Random) -> list[str]:
    """A recipe with small odd values: what `check` accepts, the run accepts too."""
    keys = rng.sample(list(SETTINGS), rng.choice((1, 1, 2)))
    words = [word for key in keys for word in ("--set", f"{key}={json.dumps(rng.choice(SETTINGS[key]))}")]
    if rng.random() < 0.75:  # a run takes seconds
        return ["check", "recipe.yaml", *words, "--json"]
    return ["--recipe", "recipe.yaml", "--run-dir", "run", *words, "--json"]


def config(rng: Random) -> list[str]:
    """A spoiled config.json of a checkpoint, or of a network that was cut."""
    folder = Path(rng.choice(("bert", "run/01-shrink/model")))
    file = folder / "config.json"
    content = json.loads(file.read_text())
    if rng.random() < 0.5:  # the blocks that decide what is built
        part = rng.choice(
            [key for key in ("architectures", "dtype", "compressor", "model_type", "id2label") if key in content]
        )
        content[part] = spoiled_tree(rng, [content[part]])
        file.write_text(json.dumps(content))
    else:
        file.write_bytes(spoiled_json(rng, file.read_text()))
    return rng.choice((["inspect", str(folder), "--json"], _check(f"model.checkpoint={folder}")))


def tokenizer(rng: Random) -> list[str]:
    """A spoiled file of the tokenizer."""
    file = rng.choice(
        [file for file in Path("bert").iterdir() if file.name not in ("config.json", "model.safetensors")]
    )
    _spoil_file(rng, file)
    return _check()


def weights(rng: Random) -> list[str]:
    """A spoiled file of weights."""
    file = Path("bert/model.safetensors")
    if rng.random() < 0.3:
        size = int.from_bytes(file.read_bytes()[:8], "little")
        header = spoiled_json(rng, file.read_bytes()[8 : 8 + size].decode())
        file.write_bytes(len(header).to_bytes(8, "little") + header + file.read_bytes()[8 + size :])
    else:
        _spoil_file(rng, file)
    return rng.choice((["inspect", "bert", "--json"], _check()))


def table(rng: Random) -> list[str]:
    """A spoiled table, or a folder with something else in it."""
    name = rng.choice(("reviews.csv", "reviews.jsonl", "reviews.parquet", "table.csv"))
    file = Path(name)
    if file.suffix == ".jsonl" and rng.random() < 0.6:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        rows = [spoiled_tree(rng, row) if rng.random() < 0.3 else row for row in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        _spoil_file(rng, file)
    if rng.random() < 0.2:
        Path("folder").mkdir()
        file = file.rename(
            Path("folder") / rng.choice((file.name, "train.csv", "test.json", "data.py", "train.parquet"))
        )
        if rng.random() < 0.5:
            (file.parent / "odd.py").write_text("raise SystemExit")
    return [
        "check",
        "table.yaml" if name == "table.csv" else "recipe.yaml",
        "--set",
        f"data.dataset={file if file.parent == Path() else file.parent}",
        "--json",
    ]


def images(rng: Random) -> list[str]:
    """A folder of images of which one is spoiled."""
    _spoil_file(rng, rng.choice(sorted(Path("images").rglob("*.png"))))
    if rng.random() < 0.3:
        Path("images/metadata.jsonl").write_bytes(spoiled_json(rng, '{"file_name": "dark/0.png", "label": 0}'))
    return ["check", "images.yaml", "--json"]


def arrays(rng: Random) -> list[str]:
    """Spoiled arrays for the bench and the gate."""
    file = Path("inputs.npz")
    if rng.random() < 0.4:
        with zipfile.ZipFile(file, "a") as archive:
            name = rng.choice(("../x.npy", "x.txt", "x", "a/b.npy", "labels.npy", "x" * 255))
            archive.writestr(
                name,
                spoiled_bytes(
                    rng, b"\x93NUMPY\x01\x00v\x00{'descr': '<i8', 'fortran_order': False, 'shape': (4, 8), }\n"
                ),
            )
    elif rng.random() < 0.4:
        with zipfile.ZipFile(file) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(file, "w") as archive:
            for name, part in parts.items():
                archive.writestr(
                    name,
                    part.replace(b"(4, 8)", rng.choice((b"(4,-8)", b"(4, 0)", b"(1<<9)", b"99**99")))
                    if rng.random() < 0.4
                    else spoiled_bytes(rng, part),
                )
    else:
        _spoil_file(rng, file)
    if rng.random() < 0.6:
        return [
            "bench",
            "words.onnx",
            "--inputs",
            "inputs.npz",
            "--length",
            "8",
            "--meter",
            "none",
            "--seconds",
            "0.05",
            "--json",
        ]
    limits = ["--max-accuracy-drop", "1%"] if rng.random() < 0.5 else []
    return [
        "gate",
        "words.onnx",
        "--baseline",
        "words.onnx",
        "--inputs",
        "inputs.npz",
        "--budget",
        "0.1",
        *limits,
        "--json",
    ]


def graph(rng: Random) -> list[str]:
    """A spoiled ONNX file."""
    file = Path(
        shutil.copy(rng.choice(("words.onnx", "run/02-export/model.onnx", "run/03-quantize/model.onnx")), "x.onnx")
    )
    _spoil_graph(rng, file) if rng.random() < 0.6 else _spoil_file(rng, file)
    draw = rng.random()
    if draw < 0.6:
        return ["inspect", "x.onnx", "--json"]
    if draw < 0.8:
        return ["bench", "x.onnx", "--length", "8", "--meter", "none", "--seconds", "0.05", "--json"]
    if draw < 0.9:
        return ["bundle", "x.onnx", "--length", "8", "--out", "out", "--json"]
    return ["gate", "x.onnx", "--baseline", "words.onnx", "--length", "8", "--budget", "0.1", "--json"]


def run_folder(rng: Random) -> list[str]:
    """A run of which one file is spoiled, and any command that reads runs."""
    files = sorted(file for file in Path("run").rglob("*") if file.is_file() and file.name != "lock")
    documents = [file for file in files if file.suffix in (".json", ".yaml", ".jsonl")]
    _spoil_file(rng, rng.choice(documents if rng.random() < 0.8 else files))
    command = rng.choice(RUN_COMMANDS)
    if command == "resume":
        return ["--recipe", "recipe.yaml", "--run-dir", "run", "--json"]
    if command == "inspect":
        return [
            "inspect",
            rng.choice(("run/01-shrink/model", "run/03-quantize/model.onnx", "run/00-project")),
            "--json",
        ]
    if command == "gate":
        return [
            "gate",
            "run/03-quantize/model.onnx",
            "--baseline",
            "run/original/model.onnx",
            "--length",
            "8",
            "--budget",
            "0.1",
            "--json",
        ]
    if command == "bench":
        return ["bench", "run", "--seconds", "0.05", "--meter", "none", "--json"]
    if command == "bundle":
        return ["bundle", "run", "--out", "out", "--json"]
    return ["report", "run", "--json"]


def result(rng: Random) -> list[str]:
    """A spoiled result of the bench, or a spoiled profile of energy."""
    shutil.copy("run/bench.json", "board.json")
    if rng.random() < 0.3:
        text = Path("profile.yaml").read_text()
        Path("profile.yaml").write_bytes(spoiled_bytes(rng, text.encode()))
        return [
            "bench",
            "words.onnx",
            "--energy-model",
            "profile.yaml",
            "--length",
            "8",
            "--meter",
            "none",
            "--seconds",
            "0.05",
            "--json",
        ]
    Path("board.json").write_bytes(spoiled_json(rng, Path("board.json").read_text()))
    Path("power.csv").write_bytes(spoiled_bytes(rng, b"time,power\n0,1.5\n1,2.5\n"))
    return rng.choice(
        (
            ["report", "run", "--bench", "board.json", "--json"],
            ["report", "run", "--bench", "board.json", "--json"],
            ["calibrate-energy", "board.json", "--out", "out", "--json"],
            ["join-energy", "board.json", "--record", "power.csv", "--out", "out", "--json"],
        )
    )


def option(rng: Random) -> list[str]:
    """Odd values of options."""
    value = rng.choice(ODD_WORDS)
    bench, gate = rng.choice(BENCH_OPTIONS), rng.choice(GATE_OPTIONS)
    setting = rng.choice((value, f"seed={value}", f"{value}=1", f"data.dataset={value}", f"model.checkpoint={value}"))
    calls = (
        ["bench", "words.onnx", bench, value],
        ["gate", "words.onnx", "--baseline", rng.choice(("words.onnx", value)), gate, value],
        ["inspect", value],
        ["report", rng.choice(("run", value)), "--bench", value],
        ["check", rng.choice(("recipe.yaml", value)), "--set", setting],
        [rng.choice(("--recipe", "check", "recipes", value)), value],
    )
    return [*rng.choice(calls), "--json"]


KINDS: dict[str, Spoil] = {
    each.__name__: each
    for each in (recipe, setting, config, tokenizer, weights, table, images, arrays, graph, run_folder, result, option)
}


def _check(*settings: str) -> list[str]:
    return ["check", "recipe.yaml", *(word for each in settings for word in ("--set", each)), "--json"]


def _spoil_file(rng: Random, file: Path) -> None:
    """Spoil the values or the bytes of a file, or put something else in its place."""
    if rng.random() < 0.12:
        file.unlink()
        way = rng.randrange(4)
        if way == 0:
            file.mkdir()
        elif way == 1:
            os.mkfifo(file)
        elif way == 2:
            file.symlink_to(rng.choice(LINKS))
    elif file.suffix == ".json" and rng.random() < 0.8:
        file.write_bytes(spoiled_json(rng, file.read_text()))
    elif file.suffix == ".jsonl" and rng.random() < 0.5:
        lines = file.read_text().splitlines()
        lines[rng.randrange(len(lines))] = json.dumps(spoiled_tree(rng, json.loads(rng.choice(lines))))
        file.write_text("\n".join(lines) + "\n")
    else:
        file.write_bytes(spoiled_bytes(rng, file.read_bytes()))


def _spoil_graph(rng: Random, file: Path) -> None:
    """Spoil what a graph says, in a file that can still be parsed."""
    import onnx

    proto = onnx.load(file)
    graph = proto.graph
    for _ in range(rng.choice((1, 1, 2))):
        node = rng.choice(graph.node)
        way = rng.randrange(9)
        if way == 0:
            node.op_type = rng.choice(("Gather", "MatMul", "Nothing", "If", "Loop", "Reshape", "Conv", ""))
        elif way == 1 and node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(
                [*node.output, "", "nowhere", *(each.name for each in graph.input)]
            )
        elif way == 2:
            del node.input[:]
        elif way == 3 and graph.initializer:
            tensor = rng.choice(graph.initializer)
            tensor.dims[:] = rng.choice(([-1], [2**40, 2**40], [], [0], [10**9]))
        elif way == 4 and graph.initializer:
            rng.choice(graph.initializer).data_type = rng.choice((0, 7, 9, 16, 999))
        elif way == 5:
            shape = graph.input[0].type.tensor_type.shape
            shape.dim.add().dim_value = rng.choice((0, 5, -3, 2**40))
        elif way == 6:
            graph.input[0].type.tensor_type.elem_type = rng.choice((1, 8, 0, 14, 99))
        elif way == 7:
            graph.node.append(graph.node[rng.randrange(len(graph.node))])
        elif graph.initializer:
            tensor = rng.choice(graph.initializer)
            tensor.data_location = onnx.TensorProto.EXTERNAL
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", rng.choice(("../x", "/etc/passwd", "x.data", "", "."))
    file.write_bytes(proto.SerializeToString())
