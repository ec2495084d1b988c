# ruff: noqa: RUF001 - the page writes the signs for times and minus
"""The report: what it gathers from a run directory, and the page, figures and cards made of it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_run import ACCURACY, RECIPE, finished_run, unfinished_run, write

from compressor.errors import InputError, RunDirError
from compressor.report import card, compare, figures, limits, page, svg, text, words
from compressor.report.gather import gather
from compressor.tasks import text_classification


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    return unfinished_run(tmp_path)


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    return finished_run(tmp_path)


def test_the_report_holds_what_the_recipe_page_promises(finished):
    page.write(finished)
    report = json.loads((finished / "report/report.json").read_text())
    assert report["format"] == 1
    assert {"versions", "cpu", "n_cores", "seed", "git_commit", "date"} <= report["environment"].keys()
    facts = {"name", "kind", "file", "quantized", "accuracy", "n_examples", "split", "n_params", "size_bytes"}
    for each in report["variants"]:
        assert facts | {"load_ms", "peak_memory_bytes", "bench"} <= each.keys()
    entry = {"batch_size", "length", "threads", "n_flops", "p50_ms", "p90_ms", "p99_ms", "throughput_per_s", "energy"}
    assert entry <= report["variants"][0]["bench"][0].keys()
    stage = {"name", "seconds", "n_params", "n_flops", "column_sparsity", "accuracy_held_out"}
    assert all(stage <= each.keys() for each in report["stages"])
    assert [each["name"] for each in report["stages"]] == ["drop_layers", "project", "export", "quantize"]


def test_gates_are_those_of_the_recipe(finished):
    report = page.write(finished)
    assert report["gates"] == limits.judge(report)
    assert [each["name"] for each in report["gates"]] == ["max_accuracy_drop", "max_p50_ratio"]
    assert "of the original, limit 60 %" in text.summary(report)


def test_widths_go_by_the_names_of_the_original(finished):
    widths = {each["name"]: each for each in gather(finished)["widths"]}
    assert len(widths) == 12
    assert widths["layer.2.ffn"] == {
        "name": "layer.2.ffn",
        "n_units_original": 1536,
        "n_units": 384,
        "is_removed": False,
    }
    assert widths["layer.1.heads"] == {
        "name": "layer.1.heads",
        "n_units_original": 12,
        "n_units": 0,
        "is_removed": True,
    }
    assert [name for name, each in widths.items() if each["is_removed"] and name.endswith("ffn")] == [
        "layer.1.ffn",
        "layer.3.ffn",
        "layer.4.ffn",
    ]


def test_an_unfinished_run_shows_what_is_there(unfinished):
    report = page.write(unfinished)
    assert not report["is_measured"]
    assert [each["name"] for each in report["variants"]] == ["original fp32", "original int8"]
    assert report["variants"][1]["accuracy"] == ACCURACY["original int8"]
    text = (unfinished / "report/index.html").read_text()
    assert "This run stopped after 01-project, 2 of 4 stages." in text
    assert "Rounds of 01-project" in text
    assert "Accuracy against latency" not in text


def test_files_are_listed_before_they_are_measured(finished):
    (finished / "bench.json").unlink()
    report = page.write(finished)
    assert [each["name"] for each in report["variants"]] == list(ACCURACY)
    assert "All stages are done; nothing has been measured yet." in (finished / "report/index.html").read_text()


def test_what_lies_behind_an_unfinished_stage_is_out_of_date(finished):
    """A stage of the recipe was edited and is being done again."""
    (finished / "01-project/done.json").unlink()
    report = page.write(finished)
    assert [each["name"] for each in report["stages"]] == ["drop_layers"]
    assert not report["is_measured"]


def test_a_run_that_only_began(unfinished):
    for folder in ("original", "00-drop_layers", "01-project"):
        (unfinished / folder / "done.json").unlink()
    report = page.write(unfinished)
    assert (report["variants"], report["widths"], report["stages"]) == ([], [], [])
    assert "This run has not finished a stage yet." in (unfinished / "report/index.html").read_text()


def test_a_run_without_an_export_has_nothing_to_measure(unfinished):
    recipe = RECIPE | {"stages": RECIPE["stages"][:2]}
    (unfinished / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    page.write(unfinished)
    text = (unfinished / "report/index.html").read_text()
    assert "All stages are done; none of them exports a file that could be measured." in text


def test_a_folder_without_a_run_is_an_input_error(tmp_path):
    with pytest.raises(
        InputError, match=r"no run there, run\.json or recipe\.yaml is missing; give the folder of a run"
    ):
        page.write(tmp_path)
    assert not (tmp_path / "report").exists()


def test_a_damaged_file_of_a_run_is_named(finished):
    (finished / "bench.json").write_text("{")
    with pytest.raises(InputError, match=r"bench\.json: damaged, .*; run the recipe again"):
        page.write(finished)


@pytest.mark.parametrize(
    ("before", "after", "written"),
    [(30.0, 6.0, "5.0× faster"), (5.0, 6.0, "1.2× slower"), (5.0, 5.2, "about the same"), (900.0, 1.0, "900× faster")],
)
def test_ratios_are_at_least_one(before, after, written):
    assert words.times(before, after, "faster", "slower") == written


@pytest.mark.parametrize(
    ("after", "written"), [(0.8853, "−0.92 points"), (0.8979, "+0.34 points"), (0.8945, "±0.00 points")]
)
def test_points(after, written):
    assert words.points(0.8945, after) == written


def test_operations_are_listed_whatever_the_threads(finished):
    report = gather(finished)
    for each in report["variants"]:
        each["bench"] = [entry | {"threads": 4} for entry in each["bench"]]
    titles = [row.title for row in compare.rows(compare.pairs(report["variants"]))]
    assert titles[1:3] == ["p50, 1×32 (4 threads)", "p50, 1×128 (4 threads)"]
    assert {"FLOPs, 1×32", "FLOPs, 1×128"} <= set(titles)
    assert titles[-1] == "energy"


def test_images_are_measured_by_the_batch(finished):
    bench = json.loads((finished / "bench.json").read_text())
    for each in bench["variants"]:
        each["bench"] = [each["bench"][0] | {"length": None}]
    write(finished / "bench.json", bench)
    report = page.write(finished)
    text = (finished / "report/index.html").read_text()
    assert "p50, batch 1" in text
    assert "p50 in ms at batch 1" in text
    card.write_card(finished / "03-quantize", report, "onnx", text_classification)
    assert "| batch | file | p50 |" in (finished / "03-quantize/README.md").read_text()


def test_axes_have_round_ticks():
    assert svg.Axis(0.87, 0.91, 0, 100).ticks() == pytest.approx([0.87, 0.88, 0.89, 0.90, 0.91])
    assert svg.Axis(0.7, 12.0, 0, 100, is_log=True).ticks() == pytest.approx([1, 2, 5, 10])
    assert svg.Axis(0.7, 2000.0, 0, 100, is_log=True).ticks() == pytest.approx([1, 10, 100, 1000])
    assert len(svg.Axis(3.0, 4.5, 0, 100, is_log=True).ticks()) > 2


def test_charts_survive_equal_numbers(finished):
    report = gather(finished)
    for each in report["variants"]:
        each |= {"accuracy": 1.0, "n_examples": 0}
    assert len(figures.accuracy_against_latency(report["variants"])) == 2
    assert figures.rounds([{"round": 0, "loss": 1.0}, {"round": 1, "loss": 1.0}])
    assert figures.rounds([{"round": 0, "loss": 1.0}]) == []


def test_the_upright_line_is_the_interval_of_the_accuracy_even_where_all_answers_were_right():
    entry = {"batch_size": 1, "length": 32, "threads": 1, "p50_ms": 1.0, "p90_ms": 1.5}
    known = {"name": "a", "kind": "result", "precision": "fp32", "bench": [entry], "accuracy": 1.0}
    (chart,) = figures.accuracy_against_latency([{**known, "n_examples": 10}, {**known, "n_examples": 100}])
    upright = re.findall(r'<line class="whisker fp32" x1="([^"]+)" y1="([^"]+)" x2="\1" y2="([^"]+)"', chart)
    few, many = (float(start) - float(end) for _, start, end in upright)
    assert few / many == pytest.approx((1 - 0.025 ** (1 / 10)) / (1 - 0.025 ** (1 / 100)), rel=0.02)


def test_pixels_are_drawn_where_they_are():
    names = [f"pixel_{row}_{column}" for row in range(2) for column in range(3)]
    drawn = figures.pixels({"original": names, "kept": names[1:3]})
    assert (drawn.count('class="kept"'), drawn.count('class="gone"')) == (2, 4)
    assert 'class="kept" x="41" y="1"' in drawn  # row 0, column 2
    assert "2 of 6 pixels are read" in drawn


@pytest.mark.parametrize(
    "features",
    [
        None,
        {"original": ["age", "income"], "kept": ["age"]},
        {"original": ["pixel_0_0", "pixel_1_1"], "kept": ["pixel_0_0"]},  # no full grid
    ],
)
def test_features_that_are_no_image_are_not_drawn(features):
    assert figures.pixels(features) == ""


def front_matter(card_file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card_file.read_text().split("---\n")[1])
    return found


def test_the_card_of_an_onnx_folder(finished):
    report = page.write(finished)
    card.write_card(finished / "03-quantize", report, "onnx", text_classification)
    front = front_matter(finished / "03-quantize/README.md")
    assert front["library_name"] == "onnx"
    assert front["tags"] == ["compressor", "pruned", "onnx", "int8"]
    assert front["base_model"] == "org/dense"
    assert front["datasets"] == ["stanfordnlp/sst2"]
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"]["split"] == "validation"
    assert result["metrics"][0]["value"] == 0.8853
    assert "license" not in front
    text = (finished / "03-quantize/README.md").read_text()
    assert "- whole layers: layer.1, layer.3, layer.4 (3 of 6)\n- heads: 4 left of 12 in each layer that stays" in text
    assert "On AMD EPYC, 2 cores, governor and temperature not shown, with onnxruntime 1.31.1" in text
    assert "| compressed int8 | 0.8853 | 13.1 MiB | 22.7 M | 80.0 ms | 134 MiB |" in text
    row = "| 1×32, SingleStream | compressed int8 | 0.880 ms | 0.933 ms | 1.06 ms | – | 1,114 | 700 M | unavailable |"
    assert row in text
    assert "Energy unavailable: no meter." in text
    assert 'ORTModelForSequenceClassification.from_pretrained("path/to/this/folder", file_name="model.onnx")' in text


def test_the_card_of_a_model_folder(finished):
    report = page.write(finished)
    (finished / "01-project/model").mkdir()
    card.write_card(finished / "01-project/model", report, "model", text_classification)
    text = (finished / "01-project/model/README.md").read_text()
    front = front_matter(finished / "01-project/model/README.md")
    assert front["library_name"] == "compressor"
    assert "model-index" not in front
    assert 'compressor.load("path/to/this/folder")' in text
    assert "13.4 M parameters" in text
    assert "0.8800 on a held-out share" in text


def test_no_path_of_this_machine_gets_into_a_card(finished):
    report = page.write(finished)
    report["recipe"]["model"]["checkpoint"] = str(finished)
    report["recipe"]["data"]["dataset"] = "../data/reviews.csv"
    card.write_card(finished / "02-export", report, "onnx", text_classification)
    text = (finished / "02-export/README.md").read_text()
    assert not {"base_model", "datasets", "model-index"} & front_matter(finished / "02-export/README.md").keys()
    assert str(finished) not in text
    assert "reviews.csv" not in text
    assert "Data set: a local one." in text


def test_a_card_names_labels_and_the_length_of_texts(finished):
    folder = finished / "02-export"
    (folder / "config.json").write_text('{"id2label": {"1": "yes", "0": "no"}}')
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 64}')
    card.write_card(folder, page.write(finished), "onnx", text_classification)
    text = (folder / "README.md").read_text()
    assert "Labels, in the order of the outputs: no, yes." in text
    assert "texts of up to 64 tokens; its tokenizer cuts longer ones" in text
    assert "truncation=True" in text


def test_the_card_of_a_run_that_was_not_measured(unfinished):
    report = page.write(unfinished)
    (unfinished / "00-drop_layers/model").mkdir()
    card.write_card(unfinished / "00-drop_layers/model", report, "model", text_classification)
    text = (unfinished / "00-drop_layers/model/README.md").read_text()
    assert "## Measured" not in text
    assert "whole layers" in text


def test_the_report_needs_neither_torch_nor_pydantic():
    code = "import sys, compressor.report.page, compressor.report.card, compressor.report.limits\n"
    code += "print({'torch', 'pydantic', 'transformers', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


DAMAGED: list[tuple[str, Any]] = [
    ("run.json", 3),
    ("run.json", {"environment": {"cpu": None}}),
    ("recipe.yaml", {"stages": "project"}),
    ("recipe.yaml", {**RECIPE, "gates": {"max_p50_ratio": "small"}}),
    ("00-drop_layers/done.json", {"key": "0", "stage": 1, "seconds": 1.0, "facts": {}}),
    ("00-drop_layers/done.json", {"key": "0", "facts": {}}),
    ("00-drop_layers/done.json", {"key": "0", "stage": "drop_layers", "seconds": 1.0, "facts": {"widths": [1]}}),
    ("original/done.json", {"key": "0", "facts": {"n_flops": {"1x32": "many"}}}),
    ("01-project/rounds.jsonl", [1]),
    ("01-project/rounds.jsonl", {"round": 1, "loss": float("nan")}),
    ("bench.json", {"format": 1, "environment": {}, "variants": [3]}),
    ("bench.json", {"format": 1, "environment": {"cpu": {}, "versions": {}}, "variants": [{"name": "a"}]}),
]


@pytest.mark.parametrize(("name", "content"), DAMAGED)
def test_a_document_that_holds_something_else_is_named(finished, name, content):
    (finished / name).write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        page.write(finished)
    assert str(caught.value).startswith(f"{finished / name}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["run.json", "recipe.yaml", "00-drop_layers/done.json", "bench.json"])
@pytest.mark.parametrize("text", ["[" * 5_000, "{", "\udcff", '{"a": "\\ud800"}'])
def test_a_document_that_cannot_be_parsed_is_named(finished, name, text):
    (finished / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError) as caught:
        page.write(finished)
    assert str(caught.value).startswith(f"{finished / name}: ")


def test_a_report_is_not_written_where_a_link_leads(finished, tmp_path):
    (tmp_path / "mine").mkdir()
    (finished / "report").symlink_to(tmp_path / "mine")
    with pytest.raises(RunDirError, match=r"report: a link to another folder; move it away"):
        page.write(finished)
    assert list((tmp_path / "mine").iterdir()) == []


def test_the_words_of_users_are_no_markup(finished):
    run = finished.rename(finished.parent / "<img src=x onerror=alert(1)>")
    folder = run / "02-export"
    (folder / "config.json").write_text('{"id2label": {"0": "*no*", "1": "<b>yes\\n# heading"}}')
    report = page.write(run)
    report["stages"][2]["features"] = {"original": ["a\n# evil", "b_c", "d"], "kept": ["a\n# evil", "b_c"]}
    card.write_card(folder, report, "onnx", text_classification)
    text = (folder / "README.md").read_text().split("---\n")[2]
    assert "# &lt;img src=x onerror=alert(1)&gt;, 02-export" in text
    assert r"the outputs: \*no\*, &lt;b&gt;yes \# heading." in text
    assert r"it reads 2: a \# evil, b_c." in text
    assert not re.search("<img|<b>|^# (heading|evil)", text, re.MULTILINE)
    assert "<img" not in (run / "report/index.html").read_text()
