"""Keys of steps: they change with all that a result depends on, and with nothing else."""

import pytest

from compressor.model import Model, OnnxGraph
from compressor.pipeline.steps import steps_of
from compressor.recipe import parse
from compressor.rundir import RunDir

RECIPE = {
    "model": {"checkpoint": "folder", "task": "text-classification"},
    "data": {"dataset": "folder"},
    "stages": [
        {"stage": "project", "column_sparsity": 0.5, "retrain": {"steps": 1}},
        {"stage": "shrink"},
        {"stage": "export"},
    ],
}


def steps(tmp_path, *overrides, key="start"):
    return list(steps_of(parse(RECIPE, overrides), RunDir(tmp_path), key))


def n_kept(tmp_path, *overrides, key="start", attribute="key"):
    """How many of the steps, from the first on, have the keys that they had."""
    pairs = zip(steps(tmp_path), steps(tmp_path, *overrides, key=key), strict=True)
    same = [getattr(one, attribute) == getattr(other, attribute) for one, other in pairs]
    assert same == sorted(same, reverse=True), "a step cannot be kept after one that is not"
    return sum(same)


def test_steps_have_folders_labels_and_kinds(tmp_path):
    found = steps(tmp_path)
    assert [step.folder.relative_to(tmp_path).name for step in found] == ["00-project", "01-shrink", "02-export"]
    assert [step.label for step in found] == ["[1/3] project", "[2/3] shrink", "[3/3] export"]
    assert [step.gives for step in found] == [Model, Model, OnnxGraph]
    assert len({step.key for step in found}) == 3


@pytest.mark.parametrize(
    ("override", "n_steps"),
    [
        ("stages.0.column_sparsity=0.6", 0), ("stages.0.retrain.lr=1e-3", 0), ("stages.2.opset=18", 2),
        ("bench.threads=[4]", 3), ("gates.max_size_ratio=0.5", 3),
    ],
)  # fmt: skip
def test_a_setting_changes_its_step_and_all_after_it(tmp_path, override, n_steps):
    assert n_kept(tmp_path, override) == n_steps


def test_what_a_run_starts_from_changes_every_step(tmp_path):
    assert n_kept(tmp_path, key="other") == 0


def test_another_retraining_keeps_the_rounds_of_its_own_stage_only(tmp_path):
    assert n_kept(tmp_path, "stages.0.retrain.lr=1e-3", attribute="rounds_key") == 1
    assert n_kept(tmp_path, "stages.0.column_sparsity=0.6", attribute="rounds_key") == 0
