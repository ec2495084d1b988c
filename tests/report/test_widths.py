"""Names of widths, and the bars that are drawn of them."""

import pytest

from compressor.report import widths


@pytest.mark.parametrize(
    ("name", "layer", "what", "is_numbered"),
    [
        ("layer.0.ffn", "layer.0", "ffn", True),
        ("encoder.layer.11.heads", "encoder.layer.11", "heads", True),
        ("embeddings.dimension", "embeddings", "dimension", False),
        ("vocabulary", "", "vocabulary", False),
    ],
)
def test_a_name_has_a_layer_and_says_what_is_counted(name, layer, what, is_numbered):
    parts = widths.split(name)
    assert (parts.layer, parts.what) == (layer, what)
    assert parts.is_of_numbered_layer == is_numbered


def test_the_original_name_undoes_the_renumbering():
    assert widths.original_name("encoder.layer.1.ffn", [0, 2, 5]) == "encoder.layer.2.ffn"
    assert widths.original_name("model.decoder.layers.1.fc1.ffn", [0, 2, 5]) == "model.decoder.layers.2.fc1.ffn"
    assert widths.original_name("hidden.ffn", [0, 2, 5]) == "hidden.ffn"


def test_numbers_of_other_lists_stay_where_no_layer_was_dropped():
    name = "regnet.encoder.stages.1.layers.0.layer.3.convolution.channels"
    assert widths.original_name(name, [0, 1]) == name


def change(name, before, after, is_removed=False):
    return {"name": name, "n_units_original": before, "n_units": after, "is_removed": is_removed}


def test_bars_are_scaled_by_the_widest_of_their_kind_and_kinds_that_lost_nothing_are_left_out():
    changes = [
        change("layer.0.ffn", 100, 50), change("layer.0.heads", 12, 12),
        change("layer.1.ffn", 200, 0, is_removed=True), change("layer.1.heads", 12, 0, is_removed=True),
    ]  # fmt: skip
    first, second = widths.layers(changes)
    assert (first.name, second.name) == ("layer.0", "layer.1")
    assert first.lanes == [widths.Lane("ffn", 100, 50, ghost=0.5, full=0.25, is_removed=False)]
    assert second.lanes == [widths.Lane("ffn", 200, 0, ghost=1.0, full=0.0, is_removed=True)]


def test_where_nothing_was_lost_every_width_is_shown():
    (layer,) = widths.layers([change("layer.0.ffn", 8, 8), change("layer.0.heads", 2, 2)])
    assert [lane.kind for lane in layer.lanes] == ["ffn", "heads"]
