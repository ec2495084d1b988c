"""Curves of costs, what they add up to, and tables of uniformly cut copies."""

import pytest

from compressor.bench import host
from compressor.bench.shape import Shape
from compressor.errors import InputError
from compressor.files import write_json
from compressor.surgery import Cut, Width
from compressor.targets import table
from compressor.targets.costs import Costs, curve

WIDTHS = [
    Width(f"layer.{i}.{what}", kind, size, (Cut("a", "out"),), (Cut("b", "in"),), layer=f"layer.{i}")
    for i in (0, 1)
    for what, kind, size in (("heads", "head", 4), ("ffn", "neuron", 100))
]
SIZES = {width.name: width.size for width in WIDTHS}
FLOPS = {Shape(1, 32): {"layer.0.heads": 1.0, "layer.1.heads": 1.0, "layer.0.ffn": 3.0, "layer.1.ffn": 1.0}}
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
        "versions": {},
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


def test_a_curve_is_linear_in_between_and_beyond():
    made = curve(12, {6: 0.3, 2: 0.4})
    assert [made.at(n) for n in (12, 9, 6, 4, 2, 0)] == pytest.approx([0, 0.15, 0.3, 0.35, 0.4, 0.45])


def test_noise_does_not_make_a_smaller_width_dearer():
    made = curve(12, {6: 0.3, 2: 0.25})
    assert made.at(2) == made.at(6) == 0.3


def test_a_width_of_one_unit_saves_nothing():
    assert curve(1, {1: 0.0}).at(1) == 0.0


def test_uniform_cuts_cost_what_was_measured_of_them():
    costs = table.costs(result(), WIDTHS, FLOPS, [Shape(1, 32)])
    assert costs.whole == {"1x32": 1.0}
    assert costs.original_ms == {"1x32": 10.0}
    for copy, measured in zip(result()["variants"], (1.0, 0.8, 0.7, 0.6), strict=True):
        assert costs.predicted(copy["widths"]) == pytest.approx({"1x32": measured})


def test_what_a_group_saves_is_spread_by_the_flops_of_its_widths():
    costs = table.costs(result(), WIDTHS, FLOPS, [Shape(1, 32)])
    assert costs.predicted({**SIZES, "layer.0.ffn": 50})["1x32"] == pytest.approx(1 - 0.3)
    assert costs.predicted({**SIZES, "layer.1.ffn": 50})["1x32"] == pytest.approx(1 - 0.1)


def test_levels_cost_what_the_prediction_adds_up():
    costs = Costs({"a": 1.0}, {"a": {"w": curve(4, {2: 0.5})}})
    assert costs.whole["a"] + costs.of_levels("a", "w", [2])[0] == costs.predicted({"w": 2})["a"]


@pytest.mark.parametrize(
    ("cpu", "machine", "uncut", "shapes", "said"),
    [
        ("a board", None, {}, [], "was measured on 'a board', not on .*; name its processor with 'machine'"),
        ("a board", "other", {}, [], "not on 'other'; give the table of that machine"),
        (None, None, {"n_params": 11}, [], "is of another network or precision"),
        (None, None, {"precision": "int8"}, [], "is of another network or precision"),
        (None, None, {"widths": {**SIZES, "layer.0.heads": 3}}, [], "is of another network or precision"),
        (None, None, {}, [Shape(1, 32), Shape(8, 32)], "has no times at '8x32'; measure these points too"),
    ],
)
def test_tables_of_something_else_are_refused_in_a_line(tmp_path, cpu, machine, uncut, shapes, said):
    file = tmp_path / "table.json"
    write_json(file, result(cpu))
    own = {"precision": "fp32", "n_params": 10, "widths": SIZES, **uncut}
    with pytest.raises(InputError, match=said) as raised:
        table.read(file, machine, own, shapes)
    assert "\n" not in str(raised.value)


def test_a_table_of_a_named_machine_is_read(tmp_path):
    file = tmp_path / "table.json"
    write_json(file, result("ARM Cortex-A72"))
    own = {"precision": "fp32", "n_params": 10, "widths": SIZES}
    assert table.read(file, "A72", own, [Shape(1, 32)])["variants"][1]["name"] == "copy 0"
