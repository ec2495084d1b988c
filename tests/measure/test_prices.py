"""Predicted times of chains of operations."""

import pytest

from compressor.measure import prices
from compressor.measure.prices import REFERENCE, Prices
from compressor.nn import Operation


def test_prices_are_measured_once_and_add_up(tmp_path, monkeypatch):
    small, large = Operation("MatMul", (8, 64), (64, 64)), Operation("MatMul", (256, 512), (512, 512))
    table = Prices(tmp_path / "operations.json")
    assert table.total([large]) > 3 * table.total([small])
    assert table.total([large, small, small]) == pytest.approx(table.total([large]) + 2 * table.total([small]))
    monkeypatch.setattr(prices, "_measured", lambda operation: pytest.fail("measured again"))
    again = Prices(tmp_path / "operations.json")
    assert again.total([small, large]) == table.total([small, large])


def test_the_unit_is_the_reference():
    assert 0.5 < Prices().total([REFERENCE]) < 2


def test_every_kind_of_operation_has_a_price():
    pads = (("pads", (1, 1, 1, 1)), ("strides", (1, 1)), ("dilations", (1, 1)), ("group", (1,)))
    kinds = [
        Operation("Add", (64, 32), (32,)),
        Operation("Transpose", (64, 4, 8), settings=(("perm", (1, 0, 2)),)),
        Operation("MatMul", (4, 64, 8), (4, 8, 8)),
        Operation("Conv", (1, 8, 16, 16), (8, 8, 3, 3), pads),
    ]
    assert all(Prices().total([kind]) > 0 for kind in kinds)
