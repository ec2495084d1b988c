"""Tables: read from any file, standardised, matched with a network by the names of their columns, run to the end."""

import json
from decimal import Decimal
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset as Rows

import compressor
from compressor.data import prepare
from compressor.data.dataset import Dataset, open_dataset
from compressor.errors import CompressorError, InputError
from compressor.model import Source, load, load_model, save_model

TASK = "tabular-classification"
N_ROWS = 120


def opened(dataset, **options):
    return open_dataset(Dataset(dataset=str(dataset), **options), TASK)


def mlp(raw, **settings):
    config = {"model_type": "mlp", "hidden_sizes": [8], **settings}
    return load_model(Source(config=config, task=TASK), raw.labels, raw.features)


@pytest.fixture(scope="module")
def table():
    """Two informative features in units of their own, one that never varies, a text, and the class."""
    generator = np.random.default_rng(0)
    is_large = np.arange(N_ROWS) % 2
    return {
        "width": (is_large * 4 + generator.normal(size=N_ROWS)).tolist(),
        "income": (30_000 + 20_000 * is_large + 3_000 * generator.normal(size=N_ROWS)).astype(int).tolist(),
        "always": [7.0] * N_ROWS,
        "remark": ["none"] * N_ROWS,
        "label": ["large" if each else "small" for each in is_large],
    }


@pytest.fixture
def csv(table, tmp_path):
    Rows.from_dict(table).to_csv(tmp_path / "table.csv")
    return tmp_path / "table.csv"


def test_features_are_the_numbers_in_any_kind_of_file(table, csv, tmp_path):
    rows = Rows.from_dict(table)
    rows.to_parquet(tmp_path / "table.parquet")
    rows.to_json(tmp_path / "table.jsonl")
    found = [opened(tmp_path / f"table.{kind}") for kind in ("csv", "parquet", "jsonl")]
    assert {raw.columns for raw in found} == {("width", "income", "always")}
    for raw in found:
        assert raw.features.means == pytest.approx(found[0].features.means)
        assert raw.features.stds == pytest.approx(found[0].features.stds)


def test_the_scale_is_that_of_the_training_split(csv):
    raw = opened(csv)
    income = np.array(raw.train["income"])
    assert raw.features.means[1] == pytest.approx(income.mean())
    assert raw.features.stds[1] == pytest.approx(income.std())
    assert raw.features.stds[2] == 1.0  # of a feature that never varies
    net = mlp(raw).net
    standardised = net.inputs(
        prepare(raw, Dataset(dataset=str(csv)), mlp(raw).task, 0).train.batch(range(90))["features"]
    )
    assert standardised.mean(dim=0).abs().max() < 0.1


def test_a_column_of_lists_is_a_table_too(tmp_path):
    rows = {"pixels": [[float(i), 1.0, 2.0] for i in range(20)], "label": ["a", "b"] * 10}
    Rows.from_dict(rows).to_parquet(tmp_path / "lists.parquet")
    raw = opened(tmp_path / "lists.parquet")
    assert raw.columns == ("pixels",)
    assert raw.features.names == ("pixels[0]", "pixels[1]", "pixels[2]")


def test_chosen_features_come_in_their_order(csv):
    raw = opened(csv, columns={"features": ("income", "width")})
    assert raw.features.names == ("income", "width")


def test_a_network_reads_its_features_by_name(csv, table, tmp_path):
    model = mlp(opened(csv))
    Rows.from_dict(dict(reversed(table.items()))).to_csv(tmp_path / "reversed.csv")
    rows = []
    for file in (csv, tmp_path / "reversed.csv"):
        options = Dataset(dataset=str(file))
        rows.append(prepare(opened(file), options, model.task, 0).train.batch([0, 1])["features"])
    assert torch.equal(*rows)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": None}, "the network reads 'width', which the table lacks; it has 'income', 'always'"),
        ({"height": [1.0] * N_ROWS}, "has no feature 'height'; choose with data.columns.features"),
        ({"width": [1.0, None] * (N_ROWS // 2)}, "'width' has no finite number in"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(csv, table, tmp_path, changes, said):
    model = mlp(opened(csv))
    file = tmp_path / "other.csv"
    Rows.from_dict({name: column for name, column in (table | changes).items() if column is not None}).to_csv(file)
    with pytest.raises(InputError, match=said):
        prepare(opened(file), Dataset(dataset=str(file)), model.task, 0)


def test_lists_of_unlike_length_are_refused(tmp_path):
    rows = {"pixels": [[1.0], [1.0, 2.0]] * 10, "label": ["a", "b"] * 10}
    Rows.from_dict(rows).to_parquet(tmp_path / "lists.parquet")
    with pytest.raises(InputError, match="all rows of 'pixels' need lists of the same length"):
        opened(tmp_path / "lists.parquet")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"features": ("remark",)}, "'remark' cannot be used for tabular-classification, it contains"),
        ({"features": ("width", "label")}, "'label' cannot be used for tabular-classification, it is the label"),
        ({"features": ("height",)}, "data.columns.features: no such column, got 'height'"),
        ({"text": "remark"}, "data.columns.text: not used in tabular-classification, got 'remark'"),
    ],
)
def test_columns_that_are_no_features_are_refused(csv, columns, said):
    with pytest.raises(InputError, match=said):
        opened(csv, columns=columns)


@pytest.mark.parametrize(("name", "n_features", "n_rows"), [("digits", 64, 1797), ("iris", 4, 150), ("wine", 13, 178)])
def test_scikit_learns_own_tables(name, n_features, n_rows):
    raw = opened(f"sklearn:{name}")
    assert (len(raw.features.names), len(raw.train) + len(raw.report)) == (n_features, n_rows)


def test_scikit_learn_has_no_other_datasets_here():
    with pytest.raises(
        InputError, match="no such dataset for tabular-classification, got 'sklearn:moons'; choose from"
    ):
        opened("sklearn:moons")
    with pytest.raises(InputError, match="no such dataset for image-classification, got 'sklearn:iris'"):
        open_dataset(Dataset(dataset="sklearn:iris"), "image-classification")


def test_settings_that_are_the_datasets_are_refused(csv):
    with pytest.raises(InputError, match="'feature_names' is not a setting of MlpConfig; labels and features come"):
        mlp(opened(csv), feature_names=["a"])
    with pytest.raises(ValueError, match="a table needs no 'processor'"):
        Source(config={"model_type": "mlp"}, processor="folder", task=TASK)


def test_a_column_with_a_word_among_its_numbers_is_no_silent_loss(table, tmp_path):
    spoiled = {**table, "width": ["?", *map(str, table["width"][1:])]}
    Rows.from_dict(spoiled).to_csv(tmp_path / "spoiled.csv")
    with pytest.raises(InputError, match=r"column 'width' holds no number in 1 of 120 rows, such as '\?'; fill or"):
        opened(tmp_path / "spoiled.csv")
    raw = opened(tmp_path / "spoiled.csv", columns={"features": ("income", "always")})
    assert raw.left_out.keys() == {"width", "remark"}


def test_decimals_are_numbers(table, tmp_path):
    money = pa.array([Decimal(f"{value:.2f}") for value in table["width"]], pa.decimal128(12, 2))
    pq.write_table(pa.table({"money": money, "label": table["label"]}), tmp_path / "money.parquet")
    raw = opened(tmp_path / "money.parquet")
    assert raw.features.names == ("money",)
    assert raw.features.means[0] == pytest.approx(np.mean([float(value) for value in raw.train["money"]]))


@pytest.fixture
def seconds_csv(tmp_path):
    """Write seconds since 1970, whose steps in float32 are 128, beside a small number."""
    rows = {"time": [1_700_000_000 + i for i in range(N_ROWS)], "x": [i % 7 for i in range(N_ROWS)]}
    Rows.from_dict({**rows, "label": ["late" if i > 60 else "early" for i in range(N_ROWS)]}).to_csv(tmp_path / "t.csv")
    return tmp_path / "t.csv"


@pytest.mark.parametrize("family", ["mlp", "autoencoder"])
def test_large_numbers_keep_their_differences(seconds_csv, tmp_path, family):
    raw = opened(seconds_csv)
    model = mlp(raw, model_type=family)
    assert model.net.config.feature_origins == [round(np.mean(raw.train["time"])), 0]
    batch = prepare(raw, Dataset(dataset=str(seconds_csv)), model.task, 0).train.batch(range(90))["features"]
    assert batch.dtype == torch.float64
    standardised = model.net.inputs(batch)
    assert standardised.dtype == torch.float32
    assert len(standardised[:, 0].unique()) == 90
    torch.testing.assert_close(model.net.inputs.restored(standardised), batch, rtol=0, atol=1e-3)
    save_model(model, tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert torch.equal(again(features=batch).logits, model.net.eval()(features=batch).logits)


def test_small_numbers_stay_float32(csv):
    raw = opened(csv)
    assert raw.features.origins is None
    assert prepare(raw, Dataset(dataset=str(csv)), mlp(raw).task, 0).train.batch([0])["features"].dtype == torch.float32


@pytest.mark.filterwarnings("ignore")  # of the exporter, about itself
def test_an_exported_file_reads_large_numbers_whole(seconds_csv, tmp_path):
    recipe = {
        "model": {"config": {"model_type": "mlp", "hidden_sizes": [8]}, "task": TASK},
        "data": {"dataset": str(seconds_csv)},
        "stages": [{"stage": "finetune", "retrain": {"steps": 150, "batch_size": 32, "lr": 1e-2}}, {"stage": "export"}],
    }
    compressor.run(recipe, tmp_path / "run")
    session = onnxruntime.InferenceSession(tmp_path / "run/01-export/model.onnx")
    assert session.get_inputs()[0].type == "tensor(double)"
    rows = np.array([[1_700_000_000 + i, i % 7] for i in range(N_ROWS)], np.float64)
    (logits,) = session.run(["logits"], {"features": rows})
    assert np.mean(logits.argmax(1) == (np.arange(N_ROWS) > 60)) > 0.97


RECIPE: dict[str, Any] = {
    "model": {"config": {"model_type": "autoencoder", "hidden_sizes": [12]}, "task": TASK},
    "stages": [
        {"stage": "finetune", "retrain": {"steps": 60, "lr": 5e-3}},
        {"stage": "project", "widths": ["inputs"], "column_sparsity": 0.3, "rounds": 1, "retrain": {"steps": 20}},
        {"stage": "shrink"},
        {"stage": "export"},
        {"stage": "quantize"},
    ],
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter, about itself
def test_a_run_on_a_table_ends_in_a_file_that_takes_whole_rows(csv, tmp_path, table):
    report = compressor.run({**RECIPE, "data": {"dataset": str(csv)}}, tmp_path / "run")
    assert report["features"] is not None
    original, kept = report["features"]["original"], report["features"]["kept"]
    assert original == ["width", "income", "always"]
    assert len(kept) == 2
    folder = tmp_path / "run/03-export"
    card = (folder / "README.md").read_text()
    assert f"Of the 3 features of a row it reads 2: {', '.join(kept)}." in card
    assert "AutoImageProcessor" not in card

    names = json.loads((folder / "config.json").read_text())["feature_names"]
    rows = np.array([table[name] for name in names], np.float32).T
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    logits, reconstruction = session.run(["logits", "reconstruction"], {"features": rows})
    right = logits.argmax(axis=1) == [["large", "small"].index(label) for label in table["label"]]
    assert right.mean() > 0.9
    assert reconstruction.shape == rows.shape

    net = compressor.load(tmp_path / "run/02-shrink/model")
    assert net.kept_features == tuple(kept)
    with torch.no_grad():
        np.testing.assert_allclose(net(torch.from_numpy(rows)).logits.numpy(), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"hidden_states": 1.0}, "distill.hidden_states: 'autoencoder' does not output one state per layer"),
        ({"attention_relations": 1.0}, "distill.attention_relations: 'autoencoder' has no attention"),
    ],
)
def test_what_cannot_be_distilled_is_found_before_anything_runs(csv, wanted, said):
    retrain = {"steps": 1, "labels": 0.5, "distill": wanted}
    stages = [RECIPE["stages"][0], {"stage": "finetune", "retrain": retrain}]
    with pytest.raises(CompressorError, match=said):
        compressor.check({**RECIPE, "data": {"dataset": str(csv)}, "stages": stages})
