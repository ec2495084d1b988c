"""Curves of costs, what they add up to, and tables of uniformly cut copies."""

from typing import Any

import pytest
from paper_costs import SIZES, WIDTHS, result

from compressor.bench.shape import Shape
from compressor.errors import InputError
from compressor.files import write_json
from compressor.targets import table
from compressor.targets.costs import Costs, curve

FLOPS = {Shape(1, 32): {"layer.0.heads": 1.0, "layer.1.heads": 1.0, "layer.0.ffn": 3.0, "layer.1.ffn": 1.0}}


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
    own: Any = {"precision": "fp32", "n_params": 10, "widths": SIZES, **uncut}
    with pytest.raises(InputError, match=said) as raised:
        table.read(file, machine, own, shapes)
    assert "\n" not in str(raised.value)


def test_a_table_of_a_named_machine_is_read(tmp_path):
    file = tmp_path / "table.json"
    write_json(file, result("ARM Cortex-A72"))
    own: Any = {"precision": "fp32", "n_params": 10, "widths": SIZES}
    assert table.read(file, "A72", own, [Shape(1, 32)])["variants"][1]["name"] == "copy 0"
