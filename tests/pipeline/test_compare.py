"""`compress compare`: numbers against a computation by hand, rows that stay dense, resuming, and bad input."""

import json
import shutil
from statistics import fmean

import pytest
import torch
from torch import nn

from compressor import cli
from compressor.errors import RunDirError
from compressor.measure import launch
from compressor.model import load_model, save_model
from compressor.model.checkpoint import Source
from compressor.pipeline.compare import Request, compare
from compressor.pipeline.start import begin
from compressor.report import comparison_page, speed

SETTINGS = ("data.held_out=0.1", "bench.lengths=[8, 16]")
BUDGETS = (0.5, 0.05)  # no rank of the small layers meets the second
P50_MS = {"dense fp32": 4.0, "dense int8": 1.0, "svd 0.5": 3.0}


def fake_bench(plan):
    """Give the file of each name a time of its own; no other program has the cores."""
    variants = []
    for variant in plan["variants"]:
        ms = P50_MS.get(variant["name"], 2.0)
        entries = [
            {"batch_size": 1, "length": length, "threads": 1, "p50_ms": ms, "mean_ms": ms, "cpu_ms": ms}
            for length in plan["lengths"]
        ]
        variants.append({**variant, "bench": entries})
    return {"variants": variants}


@pytest.fixture
def patched(monkeypatch):
    """Measure on paper, and count how often."""
    calls = []

    def measure(plan):
        calls.append([variant["name"] for variant in plan["variants"]])
        return fake_bench(plan)

    monkeypatch.setattr(launch, "measure", measure)
    return calls


def request(bert_folder, sentences_csv, **more):
    given = {"methods": ("svd", "monarch"), "budgets": BUDGETS, "norm": "weight", "settings": SETTINGS, **more}
    return Request(checkpoint=str(bert_folder), dataset=str(sentences_csv), **given)


@pytest.fixture(scope="module")
def asked(bert_folder, sentences_csv):
    return request(bert_folder, sentences_csv)


@pytest.fixture(scope="module")
def compared(asked, tmp_path_factory):
    """Give a comparison with the folder that it is in."""
    out = tmp_path_factory.mktemp("compare")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "measure", fake_bench)
        return compare(asked, out), out


@pytest.fixture(scope="module")
def start(asked):
    return begin(asked.recipe())


def row(comparison, method, budget=None, precision="fp32"):
    return next(
        each
        for each in comparison["rows"]
        if (each["method"], each["budget"], each["precision"]) == (method, budget, precision)
    )


def linear_layers(net):
    return {name: layer for name, layer in net.bert.encoder.named_modules() if isinstance(layer, nn.Linear)}


def truncated(weight):
    """The nearest matrix whose two factors have half of the numbers, and what is left of it."""
    n_rows, n_columns = weight.shape
    rank = n_rows * n_columns // 2 // (n_rows + n_columns)
    left, values, right = torch.linalg.svd(weight.double(), full_matrices=False)
    return (left[:, :rank] * values[:rank]) @ right[:rank], values[rank:].norm() / values.norm(), rank


def what_layers_read(net, layers, batch):
    read = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, args, name=name: read.update({name: args[0]}))
        for name, layer in layers.items()
    ]
    net(**batch)
    for hook in hooks:
        hook.remove()
    return read


@torch.no_grad()
def test_numbers_of_svd_are_those_computed_by_hand(compared, start):
    comparison, _ = compared
    svd = row(comparison, "svd", 0.5)
    net, layers = start.model.net, linear_layers(start.model.net)
    cut = {name: truncated(layer.weight) for name, layer in layers.items()}
    assert svd["weight_error"] == pytest.approx(fmean(float(tail) for _, tail, _ in cut.values()), rel=1e-6)
    sums = {name: [0.0, 0.0] for name in layers}
    held_out = start.data.held_out
    for index in range(len(held_out)):  # one at a time, so without padding
        batch = held_out.batch([index])
        batch.pop("labels")
        read = what_layers_read(net, layers, batch)
        for name, layer in layers.items():
            inputs, weight = read[name].double(), layer.weight.double()
            sums[name][0] += float((inputs @ (weight - cut[name][0]).T).square().sum())
            sums[name][1] += float((inputs @ weight.T).square().sum())
    assert svd["output_error"] == pytest.approx(fmean((gap / whole) ** 0.5 for gap, whole in sums.values()), rel=1e-4)
    n_saved = sum(layer.weight.numel() - cut[name][2] * sum(layer.weight.shape) for name, layer in layers.items())
    n_params = sum(weights.numel() for weights in net.parameters())
    assert svd["n_params"] == n_params - n_saved
    assert svd["size_bytes"] == 4 * svd["n_params"]
    dense = row(comparison, "dense")
    for shape, n_tokens in (("1x8", 8), ("1x16", 16)):
        assert dense["n_flops"][shape] - svd["n_flops"][shape] == 2 * n_tokens * n_saved
    assert svd["n_layers"] == len(layers) == len(comparison["layers"])
    assert comparison["n_weights"] == sum(layer.weight.numel() for layer in layers.values())


def test_dense_lines_come_first_and_times_are_ratios_to_them(compared):
    comparison, _ = compared
    assert [(each["method"], each["precision"]) for each in comparison["rows"][:2]] == [
        ("dense", "fp32"),
        ("dense", "int8"),
    ]
    ratios = [[each["ratio"] for each in line["speeds"]] for line in comparison["rows"][:3]]
    assert ratios == [[1.0, 1.0], [0.25, 0.25], [0.75, 0.75]]
    int8, dense = row(comparison, "dense", precision="int8"), row(comparison, "dense")
    assert int8["size_bytes"] < 0.5 * dense["size_bytes"]
    assert all(0 <= each["accuracy"] <= 1 for each in comparison["rows"] if each["n_layers"])


def test_a_budget_that_no_rank_meets_is_said_in_its_row(compared):
    comparison, _ = compared
    for method in ("svd", "monarch"):
        empty = row(comparison, method, 0.05)
        assert (empty["n_layers"], empty["accuracy"], empty["speeds"]) == (0, None, [])
        assert sorted(path for paths in empty["left_dense"].values() for path in paths) == sorted(comparison["layers"])
        assert all("is below rank 1" in reason for reason in empty["left_dense"])
    assert "stayed dense" in comparison_page.text(comparison)


def test_layers_that_a_budget_leaves_no_rank_stay_dense(bert_folder, sentences_csv, tmp_path, patched):
    some = request(bert_folder, sentences_csv, methods=("svd",), budgets=(0.11,))  # 16 x 24 has a rank, 16 x 16 none
    made = row(compare(some, tmp_path), "svd", 0.11)
    assert made["n_layers"] == 4
    assert [len(paths) for paths in made["left_dense"].values()] == [8]
    assert made["accuracy"] is not None


def test_the_page_shows_every_row_and_needs_no_network(compared):
    comparison, out = compared
    page = (out / "index.html").read_text()
    assert json.loads((out / "comparison.json").read_text()) == comparison
    assert page.count("<tr") == 1 + len(comparison["rows"])
    assert page.count("<svg") == 5  # two lengths, bytes, two errors
    assert "http://" not in page
    assert "https://" not in page
    assert all(title in page for title in ("monarch", "dense int8", "output error"))


def test_finished_rows_are_kept_and_only_new_ones_are_made(compared, bert_folder, sentences_csv, patched):
    comparison, out = compared
    more = request(bert_folder, sentences_csv, methods=("svd", "kronecker"), budgets=(0.5,))
    again = compare(more, out)
    assert patched == [["dense fp32", "kronecker 0.5"]]
    assert row(again, "svd", 0.5) == row(comparison, "svd", 0.5)
    assert [each["method"] for each in again["rows"]] == ["dense", "dense", "svd", "kronecker"]


def test_an_interrupted_comparison_goes_on_where_it_stopped(
    bert_folder, sentences_csv, compared, tmp_path, monkeypatch
):
    calls = []

    def interrupted(plan):
        calls.append(plan)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fake_bench(plan)

    monkeypatch.setattr(launch, "measure", interrupted)
    some = request(bert_folder, sentences_csv, methods=("svd",))
    with pytest.raises(KeyboardInterrupt):
        compare(some, tmp_path)
    assert not (tmp_path / "index.html").exists()
    again = compare(some, tmp_path)
    assert again["rows"] == [each for each in compared[0]["rows"] if each["method"] != "monarch"]
    assert len(calls) == 3  # dense once, svd twice


def test_rows_of_other_settings_are_not_taken(compared, tmp_path, bert_folder, sentences_csv, patched):
    comparison, out = compared
    shutil.copy(out / "rows.json", tmp_path)
    whitened = request(bert_folder, sentences_csv, methods=("svd",), budgets=(0.5,), norm="activation")
    again = compare(whitened, tmp_path)
    assert patched == [["dense fp32", "dense int8"], ["dense fp32", "svd 0.5"]]
    assert row(comparison, "svd", 0.5)["weight_error"] < row(again, "svd", 0.5)["weight_error"]


def test_shared_cores_are_marked(asked, compared):
    comparison, _ = compared
    shared = json.loads(json.dumps(comparison))
    shared["rows"][2]["speeds"][0]["clock"] = speed.PROCESSOR.title
    assert "0.75 *" in comparison_page.text(shared)
    assert "processor time" in comparison_page.text(shared)
    assert "processor time" not in comparison_page.text(comparison)


@pytest.mark.slow
def test_files_are_measured_side_by_side(bert_folder, sentences_csv, tmp_path):
    some = request(bert_folder, sentences_csv, methods=("svd",), budgets=(0.5,), seconds=0.2)
    for each in compare(some, tmp_path)["rows"]:
        assert [speed_["shape"] for speed_ in each["speeds"]] == ["1x8", "1x16"]
        for found in each["speeds"]:
            assert found["cpu_ms"]
            assert found["dense_cpu_ms"]
            wall, processor = found["p50_ms"] / found["dense_p50_ms"], found["cpu_ms"] / found["dense_cpu_ms"]
            assert found["ratio"] == (wall if found["clock"] == speed.WALL.title else processor) > 0


def test_convolutions_are_factorized_by_the_methods_for_them(tmp_path, monkeypatch):
    config = {"model_type": "resnet", "layer_type": "basic", "num_channels": 1, "embedding_size": 6}
    config |= {"depths": [1, 1], "hidden_sizes": [6, 8], "image_size": 8}
    torch.manual_seed(0)
    model = load_model(Source(config=config, task="image-classification"), [str(digit) for digit in range(10)])
    save_model(model, tmp_path / "resnet")
    monkeypatch.setattr(launch, "measure", lambda plan: fake_bench({**plan, "lengths": [None]}))
    asked = Request(
        checkpoint=str(tmp_path / "resnet"),
        dataset="sklearn:digits",
        methods=("tucker", "spatial_svd", "monarch"),
        budgets=(0.5,),
        n_calibration=16,
    )
    comparison = compare(asked, tmp_path / "out")
    for method in ("tucker", "spatial_svd"):
        made = row(comparison, method, 0.5)
        assert made["n_layers"] > 0
        assert 0 < made["output_error"] < 1.5
        assert made["n_params"] < row(comparison, "dense")["n_params"]
    monarch = row(comparison, "monarch", 0.5)
    assert monarch["n_layers"] == 0
    assert [reason for reason in monarch["left_dense"] if "is not for convolutions" in reason]
    assert (tmp_path / "out" / "index.html").exists()


@pytest.mark.parametrize(
    ("options", "exit_code", "message"),
    [
        (["--methods", "svd,swd"], 2, "--methods: no such method, got 'swd'; choose from block_diagonal, "),
        (["--budgets", "0.5,1"], 2, "--budgets: must be > 0 and < 1, got 1"),
        (["--budgets", "half"], 2, "should be numbers such as 0.5,0.25, got 'half'"),
        (["--layers", "bert.encoder.*", "--layers", "nothing"], 2, "--layers: 'nothing' matches no layer"),
        (["--layers", "bert.pooler"], 2, "--layers: 'bert.pooler' is a BertPooler, which cannot be factorized"),
        (["--set", "stages.0.opset=18"], 2, "--set stages.0.opset=18: not a key that can be set here"),
        (["--task", "tagging"], 2, "no such task"),
        (["--norm", "l3"], 2, "'l3' is not one of"),
    ],
)
def test_bad_input_is_one_line(options, exit_code, message, bert_folder, sentences_csv, tmp_path, capsys):
    given = ["compare", str(bert_folder), "--data", str(sentences_csv), "--out", str(tmp_path / "out")]
    assert cli.main([*given, *options]) == exit_code
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("compress: ")]
    assert len(lines) == 1
    assert message in lines[0]


def test_a_checkpoint_without_a_head_asks_for_the_task(bert_folder, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    assert cli.main(["compare", str(tmp_path), "--data", "x.csv", "--out", str(tmp_path / "out")]) == 3
    assert "checkpoint: no head for a task" in capsys.readouterr().err


def test_files_of_somebody_else_are_not_replaced(asked, tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(RunDirError, match=r"holds 'index.html', which no comparison wrote; choose another --out"):
        compare(asked, tmp_path)
    assert (tmp_path / "index.html").read_text() == "mine"


def test_the_command_prints_a_table_or_one_line_of_json(compared, bert_folder, sentences_csv, tmp_path, capsys):
    shutil.copy(compared[1] / "rows.json", tmp_path)
    given = ["compare", str(bert_folder), "--data", str(sentences_csv), "--methods", "svd", "--budgets", "0.5,0.05"]
    given += ["--norm", "weight", "--set", SETTINGS[0], "--set", SETTINGS[1], "--out", str(tmp_path)]
    assert cli.main([*given, "--json"]) == 0
    out, _ = capsys.readouterr()
    assert out.count("\n") == 1
    assert json.loads(out)["rows"] == [each for each in compared[0]["rows"] if each["method"] != "monarch"]
    assert cli.main(given) == 0
    table, _ = capsys.readouterr()
    assert table.startswith("method")
    assert f"page: {tmp_path / 'index.html'}" in table
