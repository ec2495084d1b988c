"""How the time and the peak memory of each stage grow with a network: random BERT-base, BERT-large, a 400 M Llama-like.

Run: python benchmarks/scale.py [bert-base bert-large llama-400m depths] [--folder runs/scale]
Every stage runs in a process of its own, which resumes the run that the former ones left, so a stopped benchmark goes
on where it was. Peak memory is the highest resident memory of the process above what it has after the imports, in
multiples of the weights; a star marks what is above the limit of its stage. The last lines fit the seconds of `project`
and `shrink` to a power of the depth, over BERT-base with 3 to 24 layers. `scale.json` in the folder holds all numbers.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
from pathlib import Path

WORDS = (
    "a",
    "the",
    "this",
    "film",
    "plot",
    "cast",
    "is",
    "was",
    "good",
    "bright",
    "warm",
    "bad",
    "dull",
    "cold",
    "very",
)
BERT = {"model_type": "bert", "vocab_size": 30522, "max_position_embeddings": 512}
NETWORKS = {
    "bert-base": {**BERT, "num_hidden_layers": 12},
    "bert-large": {
        **BERT,
        "num_hidden_layers": 24,
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
    "llama-400m": {
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "intermediate_size": 3520,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    },
}
DEPTHS = {f"bert-{n}-layers": {**BERT, "num_hidden_layers": n} for n in (3, 6, 12, 24)}
RETRAIN = {"steps": 2, "batch_size": 8, "lr": 1e-5}
STAGES = [
    {"stage": "finetune", "retrain": RETRAIN},
    {"stage": "project", "column_sparsity": 0.5, "rounds": 1, "retrain": RETRAIN},
    {"stage": "finetune", "retrain": {**RETRAIN, "distill": {"logits": 0.7, "hidden_states": 1.0}}},
    {"stage": "shrink"},
    {"stage": "export"},
    {"stage": "quantize"},
]
TITLES = ("finetune", "project", "finetune, teacher", "shrink", "export", "quantize")
LIMITS = (5.0, 5.0, 6.5, 3.0, 3.0, 3.0)  # times the weights; a decoder's export with a cache may take 5
PEAK = "peak.json"


def main() -> None:
    """Run the stages of each network, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=[*NETWORKS, "depths"], help="any of these; 'depths' is the fit")
    parser.add_argument("--folder", type=Path, default=Path("runs/scale"))
    parser.add_argument("--stage", nargs=2, help=argparse.SUPPRESS)  # our own child process
    given = parser.parse_args()
    if given.stage:
        return run_stages(given.folder, given.stage[0], int(given.stage[1]))
    given.folder.mkdir(parents=True, exist_ok=True)
    print(f"{'network':<16} {'weights':>9}  " + "  ".join(f"{title:>19}" for title in TITLES))
    results = {}
    for name in (name for name in given.networks if name != "depths"):
        results[name] = measured(given.folder, name, len(STAGES))
        print(row(name, results[name]))
    if "depths" in given.networks:
        results |= {name: measured(given.folder, name, 4) for name in DEPTHS}
        for stage in ("project", "shrink"):
            place = TITLES.index(stage)
            seconds = {DEPTHS[name]["num_hidden_layers"]: results[name][place]["seconds"] for name in DEPTHS}
            print(f"{stage}: {seconds} s, seconds ~ depth^{exponent(seconds):.2f}")
    named = {name: dict(zip(TITLES, found, strict=False)) for name, found in results.items()}
    (given.folder / "scale.json").write_text(json.dumps(named, indent=2) + "\n")
    return None


def measured(folder, name, n_stages):
    """Run what is left of the stages of a network, each in its own process, and read what each took."""
    for count in range(1, n_stages + 1):
        if not (folder / name / f"{count}-{PEAK}").exists():
            arguments = ["--folder", str(folder), "--stage", name, str(count)]
            subprocess.run([sys.executable, __file__, *arguments], check=True)
    return [json.loads((folder / name / f"{count}-{PEAK}").read_text()) for count in range(1, n_stages + 1)]


def run_stages(folder, name, count):
    """Run the first stages of the recipe in this process: all but the last were done by earlier ones."""
    import compressor
    from compressor.measure import launch
    from compressor.pipeline import engine  # noqa: F401  its memory belongs to the start

    launch.measure_run = lambda *given: None  # what files take at run time is another question
    config = {**NETWORKS, **DEPTHS}[name]
    home = folder / name
    home.mkdir(exist_ok=True)
    recipe = {
        "model": {"task": "text-classification", "config": config, "processor": str(tokenizer(home))},
        "data": {"dataset": str(rows(home)), "held_out": 0.1, "max_length": 128},
        "stages": STAGES[:count],
        "bench": {"lengths": [8]},
    }
    before = peak_bytes()
    compressor.run(recipe, home / "run")
    run = home / "run"
    done = json.loads((run / f"{count - 1:02d}-{STAGES[count - 1]['stage']}" / "done.json").read_text())
    weights = json.loads((run / "00-finetune/done.json").read_text())["facts"]["size_bytes"]
    found = {"seconds": done["seconds"], "peak_bytes": peak_bytes() - before, "weights_bytes": weights}
    (home / f"{count}-{PEAK}").write_text(json.dumps(found))


def row(name, found):
    """One line: seconds, and peak memory in multiples of the weights."""
    weights = found[0]["weights_bytes"]
    times = [each["peak_bytes"] / weights for each in found]
    marks = ("*" if each > limit else " " for each, limit in zip(times, LIMITS, strict=True))
    cells = (f"{each['seconds']:8.1f} s {n:5.1f} x{mark}" for each, n, mark in zip(found, times, marks, strict=True))
    return f"{name:<16} {weights / 2**20:6.0f} MiB  " + "  ".join(f"{cell:>19}" for cell in cells)


def exponent(seconds):
    """Slope of log seconds over log depth, by least squares."""
    points = [(math.log(depth), math.log(each)) for depth, each in seconds.items()]
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


def peak_bytes():
    """Highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def tokenizer(home):
    """Write a tokenizer of a few words."""
    from transformers import BertTokenizer

    folder = home / "tokenizer"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    BertTokenizer(vocab={word: index for index, word in enumerate(words)}).save_pretrained(folder)
    return folder


def rows(home):
    """Write texts of 128 tokens in two classes."""
    file = home / "rows.csv"
    texts = [" ".join(WORDS[(i * 7 + j * 3) % len(WORDS)] for j in range(126)) for i in range(80)]
    lines = [f"{text},{'good' if i % 2 else 'bad'}" for i, text in enumerate(texts)]
    file.write_text("\n".join(["text,label", *lines]) + "\n")
    return file


if __name__ == "__main__":
    main()
