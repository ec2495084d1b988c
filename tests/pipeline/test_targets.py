"""Whole runs with a target: what is measured, kept, reported and refused; times are those of the FLOPs, on paper."""

import json
from pathlib import Path
from typing import Any

import paper_costs
import pytest
import tiny

import compressor
from compressor.cli import main
from compressor.errors import RecipeError
from compressor.files import read_json
from compressor.graphs import flops
from compressor.measure import launch
from compressor.recipe import parse
from compressor.report import limits

RETRAIN = {"steps": 2, "batch_size": 16, "lr": 1e-3}


def recipe(**target: Any) -> dict[str, Any]:
    return {
        "model": {"task": "image-classification", "config": {"model_type": "vit", **tiny.VIT}},
        "data": {"dataset": "sklearn:digits"},
        "stages": [
            {"stage": "finetune", "retrain": RETRAIN},
            {"stage": "project", "target": target, "rounds": 1, "retrain": RETRAIN},
            {"stage": "shrink"},
            {"stage": "export"},
        ],
    }


@pytest.fixture
def plans(monkeypatch):
    """Time files by their FLOPs, and keep what was asked for."""
    seen = []

    def measure(plan):
        seen.append([planned["name"] for planned in plan["variants"]])
        variants = []
        for planned in plan["variants"]:
            ms = 1e-4 * (flops.count(Path(planned["file"]), 1, None) or 0)
            entry = {**paper_costs.entry(ms), "length": None}
            variants.append({**paper_costs.variant(planned["name"], 1.0), **planned, "bench": [entry]})
        return {**paper_costs.result(), "variants": variants}

    monkeypatch.setattr(launch, "measure", measure)
    return seen


@pytest.mark.slow
def test_a_run_reaches_its_target_and_reports_it(plans, tmp_path):
    report = compressor.run({**recipe(p50_ratio=0.75), "gates": {"max_p50_ratio": 0.79}}, run_dir=tmp_path / "run")
    [stage] = [stage for stage in report["stages"] if stage["name"] == "project"]
    target: Any = stage.get("target")
    assert target["measured"]["1"] == pytest.approx(0.75, rel=0.05)
    assert limits.judge(report)[0]["value"] == pytest.approx(target["measured"]["1"])
    left = {width["name"]: width["n_units"] for width in report["widths"]}
    assert {name: left[name] for name in target["widths"]} == target["widths"]
    assert [name for name in plans[0] if name.startswith("copy")]
    page = (tmp_path / "run/report/index.html").read_text()
    assert "Target of 01-project" in page
    before = len(plans)
    compressor.run({**recipe(p50_ratio=0.75), "gates": {"max_p50_ratio": 0.79}}, run_dir=tmp_path / "run")
    assert len(plans) == before
    compressor.run({**recipe(p50_ratio=0.7)}, run_dir=tmp_path / "run")
    assert not any(name.startswith("copy") for names in plans[before:] for name in names)  # the table was kept


def test_check_refuses_what_it_can_know(tmp_path):
    with pytest.raises(
        RecipeError, match=r"^stages\[1\] \(project\): target: n_flops_ratio 0\.01 cannot be reached at 1"
    ):
        compressor.check(recipe(n_flops_ratio=0.01))
    without = recipe(p50_ratio=0.5)
    without["stages"].pop()
    with pytest.raises(RecipeError, match=r"^stages\[1\] \(project\): target: p50_ratio is about an exported file"):
        compressor.check(without)
    with pytest.raises(RecipeError, match=r"target: give exactly one of p50_ratio"):
        parse(recipe(p50_ratio=0.5, p50_ms=1.0))


def test_prune_needs_no_recipe_and_says_what_it_would_choose(bert_folder, sentences_csv, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["prune", str(bert_folder), "--data", str(sentences_csv), "--target", "n_flops_ratio=0.7", "--fast"]
    given += ["--set", "data.held_out=0.2", "--set", "bench.lengths=[8]", "--json"]
    assert main([*given, "--dry-run"]) == 0
    previewed = json.loads(capsys.readouterr().out)
    assert [stage["stage"] for stage in previewed["recipe"]["stages"]] == ["prune", "shrink", "export", "quantize"]
    assert previewed["recipe"]["model"]["task"] == "text-classification"
    chosen = {width["name"]: width["n_units"] for width in previewed["widths"]}
    assert chosen == previewed["target"]["widths"]
    assert previewed["target"]["measured"]["1x8"] <= 0.7 * 1.005
    assert not list(tmp_path.iterdir())
    parse(previewed["recipe"])  # it is a recipe


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("latency=0.5", "--target: no such target, got 'latency'; choose from p50_ratio"),
        ("p50_ratio", "should be a key and a number such as p50_ratio=0.5, got 'p50_ratio'"),
        ("p50_ratio=1.5", "target.p50_ratio: should be less than 1, got 1.5"),
    ],
)
def test_a_wrong_target_is_one_line(bert_folder, sentences_csv, target, said, capsys):
    assert main(["prune", str(bert_folder), "--data", str(sentences_csv), "--target", target]) == 2
    assert said in capsys.readouterr().err


def test_the_files_of_a_table_are_packed_for_a_board(plans, bert_folder, sentences_csv, tmp_path, capsys):
    file = tmp_path / "board.yaml"
    stage = {"stage": "prune", "target": {"p50_ratio": 0.5, "cost_table": "costs.json", "machine": "Cortex"}}
    content: Any = {
        "model": {"checkpoint": str(bert_folder), "task": "text-classification"},
        "data": {"dataset": str(sentences_csv), "held_out": 0.2},
        "stages": [stage, {"stage": "shrink"}, {"stage": "export"}, {"stage": "quantize"}],
        "bench": {"lengths": [8]},
    }
    file.write_text(json.dumps(content))
    assert main(["bundle", str(file), "--out", str(tmp_path / "costs"), "--json"]) == 0
    capsys.readouterr()
    plan = read_json(tmp_path / "costs/plan.json")
    assert [variant["name"] for variant in plan["variants"]] == ["original", *(f"copy {index}" for index in range(4))]
    assert plan["variants"][1]["widths"]["layer.0.heads"] == 2
    assert {variant["precision"] for variant in plan["variants"]} == {"int8"}
    content["stages"] = content["stages"][1:]
    file.write_text(json.dumps(content))
    assert main(["bundle", str(file), "--out", str(tmp_path / "costs")]) == 2
    assert "none has a latency target" in capsys.readouterr().err
