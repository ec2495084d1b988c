"""A run that is killed at any of its writes ends in the same bits as one that is not.

A process that is killed leaves what is in its folder at that moment. So the folder of an undisturbed run is copied at
each write that replaces a file, when the new content lies beside the old, and a run is resumed from each copy.
"""

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
from run_files import contents, unlike

import compressor
from compressor.measure import launch
from compressor.training import journal

RETRAIN = {"steps": 2, "batch_size": 16, "lr": 1e-3, "distill": {"logits": 0.7, "hidden_states": 1.0}}
FINETUNE = {"stage": "finetune", "retrain": {**RETRAIN, "distill": None}}
TRAINED = [
    FINETUNE,
    {"stage": "project", "column_sparsity": 0.5, "importance": "taylor", "rounds": 2, "retrain": RETRAIN},
    {"stage": "shrink"},
    {"stage": "finetune", "retrain": RETRAIN},
]
EXPORTED = {
    "model": {"task": "tabular-classification", "config": {"model_type": "mlp", "hidden_sizes": [16]}},
    "data": {"dataset": "sklearn:wine"},
    "stages": [FINETUNE, {"stage": "export"}, {"stage": "quantize"}],
}
POINTERS = ("round.json", "step.json")  # after these, what they pointed to before is removed

pytestmark = pytest.mark.slow


def measured_once():
    """Give a bench that measures the files of the first run, briefly; all runs have the same files."""
    found: list[Any] = []
    measure = launch.measure

    def measured(plan):
        if not found:
            found.append(measure(plan | {"seconds": 0.2, "meter": "none"}))
        return copy.deepcopy(found[0])

    return measured


def copies(recipe, run_dir, folder, leave_out="nothing"):
    """Run a recipe with a save after every step; copy its folder at each write, and return the copies by name."""
    made: dict[str, Path] = {}

    def take(name):
        made[name] = Path(shutil.copytree(run_dir, folder / str(len(made)) / run_dir.name))

    replace = Path.replace

    def replacing(beside, target):
        name = f"{len(made):02} {target}".replace(f"{run_dir}/", "")
        is_copied = target.is_relative_to(run_dir) and leave_out not in target.parts
        if is_copied:
            take(f"before {name}")
        replace(beside, target)
        if is_copied and target.name in POINTERS:
            take(f"after {name}")
        return target

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replacing)
        patch.setattr(journal, "SECONDS_BETWEEN_SAVES", 0.0)
        compressor.run(recipe, run_dir)
    return made


def check_all(recipe, made, expected):
    """Resume from each copy; the same files come out, to the bit."""
    for name, run_dir in made.items():
        compressor.run(recipe, run_dir)
        assert unlike(run_dir, expected) == [], name
        shutil.rmtree(run_dir)


def names(made):
    return {Path(name.split()[-1]).name for name in made}


def test_training_that_is_killed_at_any_write_ends_in_the_same_bits(bert_folder, sentences_csv, tmp_path):
    model = {"task": "text-classification", "checkpoint": str(bert_folder)}
    recipe = {"model": model, "data": {"dataset": str(sentences_csv), "held_out": 0.2}, "stages": TRAINED}
    made = copies(recipe, tmp_path / "run", tmp_path / "copies")
    assert names(made) >= {
        "recipe.yaml",
        "run.json",
        "key.json",
        "step.json",
        "round.json",
        "rounds.jsonl",
        "done.json",
    }
    check_all(recipe, made, contents(tmp_path / "run"))


def test_an_export_that_is_killed_at_any_write_ends_in_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "measure", measured_once())
    made = copies(EXPORTED, tmp_path / "run", tmp_path / "copies", leave_out="00-finetune")
    assert names(made) >= {"model.onnx", "model-int8.onnx", "parity.json", "export.json", "bench.json", "report.json"}
    check_all(EXPORTED, made, contents(tmp_path / "run"))
