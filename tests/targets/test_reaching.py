"""From a target to units: with counts, with bytes, and with times of a machine that exists on paper."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import paper_costs
import pytest
import tiny

from compressor import surgery
from compressor.bench.result import PlanSettings
from compressor.errors import InputError, RecipeError
from compressor.files import read_json, write_json
from compressor.measure import launch
from compressor.model import Model, OnnxGraph, Source, load_model
from compressor.model.outputs import n_flops
from compressor.options import Target
from compressor.report import targets
from compressor.rundir import TARGET
from compressor.surgery import Width
from compressor.targets import attribution, damages
from compressor.targets.cutting import cut_copy, levels, uniform
from compressor.targets.reaching import units_for
from compressor.targets.sized import n_bytes
from compressor.training.context import Context
from compressor.training.shipping import Shipped, Shipping

POINTS: PlanSettings = {"batch_sizes": [1], "lengths": [8, 32], "threads": [1]}


@pytest.fixture
def model(bert_folder):
    return load_model(Source(checkpoint=str(bert_folder), task="text-classification"), None)


@pytest.fixture
def chosen(model):
    return surgery.select(model.widths(), ["*.heads", "*.ffn"])


@pytest.fixture
def table(model, chosen):
    norms = {width.name: surgery.columns(model.net, width).norm(dim=0) for width in chosen}
    return damages.of_scores(chosen, norms, dict.fromkeys((width.name for width in chosen), 1))


def written(model: Model, folder: Path) -> Shipped:
    """Write the units in place of a file, padded to the bytes that its weights would take."""
    text = json.dumps({width.name: width.size for width in model.widths()})
    path = folder / "model.onnx"
    path.write_text(text + " " * (round(n_bytes(model, "int8")) - len(text) + 500))
    graph = OnnxGraph(path, model.task)
    return Shipped(graph, graph)


def ms(units: dict[str, int], length: int) -> float:
    """Time of a network on paper: not linear, not additive, and the last layer is cheaper than the others."""
    shares = [(0.3, units["layer.0.ffn"] / 24), (0.02, units["layer.1.ffn"] / 24)]
    shares += [(length / 160, units[f"layer.{i}.heads"] / 4) for i in (0, 1)]
    return 0.1 + sum(weight * share**0.9 for weight, share in shares) * (1 + 0.1 * shares[0][1] * shares[2][1])


@pytest.fixture
def measured(monkeypatch):
    """Count what is measured, on paper."""
    seen: list[list[str]] = []

    def measure(plan):
        seen.append([planned["name"] for planned in plan["variants"]])
        variants = []
        for planned in plan["variants"]:
            units = json.loads(Path(planned["file"]).read_text())
            entries = [{**paper_costs.entry(ms(units, n)), "length": n} for n in plan["lengths"]]
            variants.append({**paper_costs.variant(planned["name"], 1.0), **planned, "bench": entries})
        return {**paper_costs.result(), "variants": variants}

    def per_unit(model, graph, widths, batch_size, length):
        return {width.name: 0.1 if width.name == "layer.1.ffn" else 1.0 for width in widths}

    monkeypatch.setattr(launch, "measure", measure)
    monkeypatch.setattr(attribution, "per_unit", per_unit)
    return seen


@pytest.fixture
def context(model, tmp_path):
    shipping = Shipping(POINTS, written, "int8", [], tmp_path / "none.onnx", tmp_path / "costs.json")
    folder = tmp_path / "01-project"
    folder.mkdir()
    originals: Any = type("Originals", (), {"model": model.copy()})()
    return replace(tiny.bare_context(folder, "key", label="project"), originals=originals, shipping=shipping)


def reached(context: Context) -> Any:
    return read_json(context.folder / TARGET)


def aim(**keys: Any) -> Target:
    return Target(**keys)


@pytest.mark.parametrize("ratio", [0.8, 0.6, 0.45])
def test_a_latency_is_met_within_five_percent_at_the_worst_point(model, chosen, table, context, measured, ratio):
    units = units_for(model, chosen, table, aim(p50_ratio=ratio), context)
    original = {width.name: width.size for width in chosen}
    ratios = [ms(units, length) / ms(original, length) for length in POINTS["lengths"]]
    assert max(ratios) == pytest.approx(ratio, rel=0.05)
    record = reached(context)
    assert record["widths"] == units
    assert list(record["measured"].values()) == pytest.approx(ratios)
    assert len(record["tries"]) <= 3
    assert measured[0] == ["original", *(f"copy {index}" for index in range(4))]
    assert measured[1:] == [["original", "compressed 0"]] * len(record["tries"])


def test_the_table_and_the_answer_are_kept(model, chosen, table, context, measured):
    first = units_for(model, chosen, table, aim(p50_ratio=0.6), context)
    n_measured = len(measured)
    assert units_for(model, chosen, table, aim(p50_ratio=0.6), context) == first
    assert len(measured) == n_measured
    (context.folder / TARGET).unlink()
    units_for(model, chosen, table, aim(p50_ratio=0.6), context)
    assert all(len(names) == 2 for names in measured[n_measured:])  # the copies were not measured again


def test_milliseconds_are_over_those_of_the_original(model, chosen, table, context, measured):
    original = {width.name: width.size for width in chosen}
    wanted = 0.7 * ms(original, 32)
    units = units_for(model, chosen, table, aim(p50_ms=wanted), context)
    assert max(ms(units, length) for length in POINTS["lengths"]) == pytest.approx(wanted, rel=0.05)
    row = targets.rows(reached(context))[1]
    assert row.point == "1x32"
    assert row.wanted.startswith(f"{wanted:.3f}")
    assert row.wanted.endswith(" ms")


def test_a_latency_that_the_smallest_network_misses_is_refused(model, chosen, table, context, measured):
    with pytest.raises(RecipeError, match=r"^01-project: target: p50_ratio 0\.1 cannot be reached at 1x\d+, .* give"):
        units_for(model, chosen, table, aim(p50_ratio=0.1), context)


@pytest.mark.parametrize("ratio", [0.9, 0.7])
def test_flops_are_met_without_measuring(model, chosen, table, context, measured, ratio):
    units = units_for(model, chosen, table, aim(n_flops_ratio=ratio), context)
    smaller = cut_copy(model, units)
    ratios = [n_flops(smaller, 1, length) / n_flops(model, 1, length) for length in POINTS["lengths"]]
    assert max(ratios) <= ratio * 1.005
    assert max(ratios) == pytest.approx(ratio, rel=0.05)
    assert not measured


def test_parameters_and_bytes_are_met(model, chosen, table, context, measured):
    units = units_for(model, chosen, table, aim(n_params_ratio=0.9), context)
    n_params = surgery.n_params(cut_copy(model, units).net) / surgery.n_params(model.net)
    assert n_params == pytest.approx(0.9, rel=0.01)
    (context.folder / TARGET).unlink()
    units = units_for(model, chosen, table, aim(size_ratio=0.9), context)
    assert reached(context)["measured"]["file"] == pytest.approx(0.9, rel=0.02)


def test_a_dry_run_measures_nothing_and_refuses_what_counts_show(model, chosen, table, context, measured):
    dry = replace(context, is_dry=True)
    units = units_for(model, chosen, table, aim(p50_ratio=0.7), dry)
    assert any(units[width.name] < width.size for width in chosen)
    assert not measured
    assert not (context.folder / TARGET).exists()
    with pytest.raises(ValueError, match=r"^target: n_params_ratio 0\.01 cannot be reached at parameters"):
        units_for(model, chosen, table, aim(n_params_ratio=0.01), dry)


@pytest.mark.parametrize("key", ["p50_ratio", "p50_ms", "size_ratio"])
def test_a_target_on_a_file_needs_an_export(model, chosen, table, context, key):
    dry = replace(context, is_dry=True, shipping=replace(context.shipping, write=None))
    with pytest.raises(ValueError, match=rf"^target: {key} is about an exported file, .*; add an export stage$"):
        units_for(model, chosen, table, aim(**{key: 0.5}), dry)


def test_a_table_from_elsewhere_predicts_and_corrects_nothing(model, chosen, table, context, measured, tmp_path):
    units_for(model, chosen, table, aim(p50_ratio=0.6), context)
    [result] = [each for name, each in read_json(tmp_path / "costs.json").items() if name != "digest"]
    file = tmp_path / "board.json"
    environment = {**result["environment"], "cpu": {"model": "ARM Cortex-A72", "flags": []}}
    write_json(file, {**result, "environment": environment})
    (context.folder / TARGET).unlink()
    n_measured = len(measured)
    wanted = aim(p50_ratio=0.6, cost_table=str(file), machine="A72")
    units = units_for(model, chosen, table, wanted, context)
    assert len(measured) == n_measured
    assert reached(context)["measured"] is None
    assert reached(context)["widths"] == units
    assert "not measured" in targets.note(reached(context))
    with pytest.raises(InputError, match="was measured on 'ARM Cortex-A72'"):
        units_for(model, chosen, table, aim(p50_ratio=0.6, cost_table=str(file)), replace(context, is_dry=True))
    with pytest.raises(ValueError, match=r"target: p50_ratio 0\.05 cannot be reached at 1x"):
        units_for(model, chosen, table, wanted.model_copy(update={"p50_ratio": 0.05}), replace(context, is_dry=True))


def test_damages_are_the_squares_that_go(model, chosen):
    scores = {width.name: surgery.columns(model.net, width).norm(dim=0) for width in chosen}
    table = damages.of_scores(chosen, scores, {width.name: 0 for width in chosen})
    squares = scores["layer.0.heads"].square().sort().values
    assert table["layer.0.heads"] == pytest.approx(
        {n: float(squares[: 4 - n].sum() / squares.sum()) for n in (4, 3, 2, 1, 0)}
    )


def test_copies_are_cut_in_one_group_each(chosen):
    copies = uniform(chosen, dict.fromkeys((width.name for width in chosen), 1))
    assert copies == [
        {"layer.0.heads": 2, "layer.1.heads": 2},
        {"layer.0.heads": 1, "layer.1.heads": 1},
        {"layer.0.ffn": 12, "layer.1.ffn": 12},
        {"layer.0.ffn": 2, "layer.1.ffn": 2},
    ]


def test_levels_run_from_the_floor_to_the_size():
    wide = Width("w", "neuron", 1536, (), ())
    assert (levels(wide, 1)[0], levels(wide, 1)[-1], len(levels(wide, 1))) == (1, 1536, 48)
    assert levels(replace(wide, size=4), 1) == [1, 2, 3, 4]
    assert levels(replace(wide, size=1), 1) == [1]


def test_the_file_of_a_text_classifier_computes_one_row_in_its_last_layer(model, chosen, tmp_path):
    """Its neurons are nearly free there, and counts of the network itself would not say so."""
    from compressor.stages import export

    graph = export.run(model, export.Options(stage="export"), tiny.bare_context(tmp_path))
    assert set(graph.modules.values()) >= {
        "bert.encoder.layer.1.intermediate.dense",
        "bert.encoder.layer.1.attention.self",
    }
    flops = attribution.per_unit(model, graph, chosen, 1, 16)
    assert flops["layer.0.ffn"] == 2 * 2 * 16 * 16  # two products of 16 rows and 16 entries
    assert flops["layer.1.ffn"] == flops["layer.0.ffn"] / 16
    assert 0 < flops["layer.1.heads"] < flops["layer.0.heads"]
