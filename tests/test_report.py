# ruff: noqa: RUF001 - the page writes the signs for times and minus
"""The report: what it gathers from a run directory, and the page and cards made of it."""

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from compressor.errors import InputError
from compressor.report import card, compare, figures, page, words
from compressor.report.gather import gather

ACCURACY = {"original fp32": 0.8945, "original int8": 0.8979, "compressed fp32": 0.8876, "compressed int8": 0.8853}
P50_MS = {
    "original fp32": (9.1, 30.7),
    "original int8": (3.9, 13.1),
    "compressed fp32": (1.66, 6.1),
    "compressed int8": (0.88, 3.06),
}
SIZE_BYTES = {
    "original fp32": 91_300_000,
    "original int8": 23_300_000,
    "compressed fp32": 54_500_000,
    "compressed int8": 13_700_000,
}
RECIPE = {
    "seed": 0,
    "model": {"checkpoint": "org/dense", "config": None, "task": "text-classification"},
    "data": {"dataset": "stanfordnlp/sst2"},
    "stages": [
        {"stage": "drop_layers", "keep": [0, 2, 5]},
        {"stage": "project"},
        {"stage": "export"},
        {"stage": "quantize"},
    ],
    "gates": {"max_accuracy_drop": 0.01, "max_p50_ratio": 0.6, "max_size_ratio": None, "max_energy_ratio": None},
}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def entries(name: str) -> list[dict[str, Any]]:
    """What the bench writes for one file: two lengths, one thread, no meter."""
    made = []
    for length, p50 in zip((32, 128), P50_MS[name], strict=True):
        shape = {"batch_size": 1, "length": length, "threads": 1, "n_flops": 700_000_000 * length // 32}
        times = {"p50_ms": p50, "p90_ms": 1.06 * p50, "p99_ms": 1.2 * p50, "mean_ms": 1.02 * p50}
        energy = {
            "kind": "unavailable",
            "net_j": None,
            "gross_j": None,
            "low": None,
            "high": None,
            "reason": "no meter",
        }
        made.append({**shape, **times, "throughput_per_s": 980 / p50, "n_runs": 1000, "energy": energy})
    return made


def variant(name: str, file: str) -> dict[str, Any]:
    facts = {"kind": "original" if name.startswith("original") else "result", "quantized": name.endswith("int8")}
    rated = {"accuracy": ACCURACY[name], "n_examples": 872, "split": "validation", "n_params": 22_700_000}
    weighed = {"size_bytes": SIZE_BYTES[name], "load_ms": 80.0, "peak_memory_bytes": 141_000_000}
    return {"name": name, "file": file, **facts, **rated, **weighed, "bench": entries(name)}


def environment() -> dict[str, Any]:
    versions = {"python": "3.11.7", "compressor": "0.1.0", "onnxruntime": "1.31.1"}
    cpu = {"model": "AMD EPYC", "flags": ["avx2", "avx512_vnni", "fpu"]}
    return {"versions": versions, "cpu": cpu, "n_cores": 2, "seed": 0, "git_commit": None, "date": "2026-11-21"}


def model_facts(n_units: dict[str, int], layers: list[int], accuracy_held_out: float, **changes: Any) -> dict[str, Any]:
    """What the pipeline records of a model."""
    widths = {f"layer.{i}.{kind}": size for i in range(len(layers)) for kind, size in n_units.items()}
    size = {"n_params": 22_700_000, "n_flops": {"1x32": 700_000_000, "1x128": 2_900_000_000}, "size_bytes": 90_800_000}
    zeros = {"sparsity": 0.0, "column_sparsity": 0.0}
    return {**size, **zeros, "widths": widths, "layers": layers, "accuracy_held_out": accuracy_held_out} | changes


def finish(folder: Path, stage: str, seconds: float, facts: dict[str, Any]) -> None:
    write(folder / "done.json", {"key": folder.name, "stage": stage, "seconds": seconds, "facts": facts})


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A run that stopped after two of its four stages."""
    run = tmp_path / "sst2"
    origin = {"source": "org/dense", "recipe_file": "sst2.yaml", "recipe_digest": "0", "version": "0.1.0"}
    write(run / "run.json", {"format": 1, "environment": environment(), **origin})
    (run / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    files = {
        name: {"accuracy": ACCURACY[kind], "n_examples": 872, "split": "validation", "size_bytes": SIZE_BYTES[kind]}
        for name, kind in (("model.onnx", "original fp32"), ("model-int8.onnx", "original int8"))
    }
    original = model_facts({"heads": 12, "ffn": 1536}, [0, 1, 2, 3, 4, 5], 0.9012)
    write(run / "original/done.json", {"key": "0", "facts": {**original, "files": files}})
    small = {"n_params": 17_400_000, "n_flops": {"1x32": 350_000_000, "1x128": 1_400_000_000}, "size_bytes": 69_600_000}
    finish(
        run / "00-drop_layers", "drop_layers", 4.0, model_facts({"heads": 12, "ffn": 1536}, [0, 2, 5], 0.71, **small)
    )
    finish(run / "01-project", "project", 410.0, cut_facts())
    kept = {"kept_layers": [0, 2, 5]}  # a stage may log what belongs to no round
    log = [
        {"round": i, "dead_units": 500 * i, "units": 4644, "loss": 0.9 - 0.05 * i, "accuracy_held_out": 0.8 + 0.01 * i}
        for i in range(8)
    ]
    (run / "01-project/rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [kept, *log]))
    return run


def cut_facts() -> dict[str, Any]:
    small = {"n_params": 13_400_000, "n_flops": {"1x32": 120_000_000, "1x128": 560_000_000}, "size_bytes": 53_600_000}
    return model_facts({"heads": 4, "ffn": 384}, [0, 2, 5], 0.88, **small)


@pytest.fixture
def finished(unfinished: Path) -> Path:
    """A run whose files were measured."""
    for folder, name in (("02-export", "compressed fp32"), ("03-quantize", "compressed int8")):
        of_file = {"accuracy": ACCURACY[name], "n_examples": 872, "split": "validation", "size_bytes": SIZE_BYTES[name]}
        stage = folder.partition("-")[2]
        finish(unfinished / folder, stage, 14.0, {**cut_facts(), **of_file, "file": f"{folder}/model.onnx"})
    files = ("original/model.onnx", "original/model-int8.onnx", "02-export/model.onnx", "03-quantize/model.onnx")
    variants = [variant(name, file) for name, file in zip(ACCURACY, files, strict=True)]
    write(unfinished / "bench.json", {"format": 1, "environment": environment(), "variants": variants})
    return unfinished


def no_gates(_: object) -> list[dict[str, Any]]:
    return []


def test_the_report_holds_what_the_recipe_page_promises(finished):
    page.write(finished, no_gates)
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
    assert report["gates"] == []


def test_gates_come_from_above(finished):
    verdict = {"name": "max_p50_ratio", "limit": 0.6, "value": 0.23, "met": True, "note": "worst at 1x128, threads 1"}
    report = page.write(finished, lambda report: [verdict] if report["is_measured"] else [])
    assert report["gates"] == [verdict]
    assert "p50 ratio 0.23, limit 0.6" in (finished / "report/index.html").read_text()


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
    report = page.write(unfinished, no_gates)
    assert not report["is_measured"]
    assert [each["name"] for each in report["variants"]] == ["original fp32", "original int8"]
    assert report["variants"][1]["accuracy"] == ACCURACY["original int8"]
    text = (unfinished / "report/index.html").read_text()
    assert "This run stopped after 01-project, 2 of 4 stages." in text
    assert "Rounds of 01-project" in text
    assert "Accuracy against latency" not in text


def test_files_are_listed_before_they_are_measured(finished):
    (finished / "bench.json").unlink()
    report = page.write(finished, no_gates)
    assert [each["name"] for each in report["variants"]] == list(ACCURACY)
    assert "All stages are done; nothing has been measured yet." in (finished / "report/index.html").read_text()


def test_what_lies_behind_an_unfinished_stage_is_out_of_date(finished):
    """A stage of the recipe was edited and is being done again."""
    (finished / "01-project/done.json").unlink()
    report = page.write(finished, no_gates)
    assert [each["name"] for each in report["stages"]] == ["drop_layers"]
    assert not report["is_measured"]


def test_a_run_that_only_began(unfinished):
    for folder in ("original", "00-drop_layers", "01-project"):
        (unfinished / folder / "done.json").unlink()
    report = page.write(unfinished, no_gates)
    assert (report["variants"], report["widths"], report["stages"]) == ([], [], [])
    assert "This run has not finished a stage yet." in (unfinished / "report/index.html").read_text()


def test_a_run_without_an_export_has_nothing_to_measure(unfinished):
    recipe = RECIPE | {"stages": RECIPE["stages"][:2]}
    (unfinished / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    page.write(unfinished, no_gates)
    text = (unfinished / "report/index.html").read_text()
    assert "All stages are done; none of them exports a file that could be measured." in text


def test_a_folder_without_a_run_is_an_input_error(tmp_path):
    with pytest.raises(
        InputError, match=r"no run there, run\.json or recipe\.yaml is missing; give the folder of a run"
    ):
        page.write(tmp_path, no_gates)
    assert not (tmp_path / "report").exists()


def test_a_damaged_file_of_a_run_is_named(finished):
    (finished / "bench.json").write_text("{")
    with pytest.raises(InputError, match=r"bench\.json: damaged, .*; run the recipe again"):
        page.write(finished, no_gates)


class Page(HTMLParser):
    """Tags that are open, and every address that the page would fetch."""

    VOID = ("meta", "br", "hr", "img", "link", "line", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing(finished):
    page.write(finished, no_gates)
    text = (finished / "report/index.html").read_text()
    parsed = Page()
    parsed.feed(text)
    assert parsed.open == []
    assert parsed.fetched == []
    assert "url(" not in text
    assert "@import" not in text


def test_the_verdict_compares_like_with_like(finished):
    headline, behind = compare.verdict(gather(finished))
    assert headline == (
        "The compressed int8 file is 4.3 to 4.4× faster, 1.7× smaller, and loses 0.92 points of accuracy."
    )
    assert behind == (
        "Against original int8 on the same processor. "
        "Accuracy 0.8853 against 0.8945 of original fp32, on 872 examples of the validation split."
    )


def test_a_result_without_int8_is_compared_with_fp32(finished):
    report = gather(finished)
    report["variants"] = [each for each in report["variants"] if each["name"] != "compressed int8"]
    headline, _ = compare.verdict(report)
    assert headline.startswith("The compressed fp32 file is 5.0 to 5.5× faster, 1.7× smaller, and loses 0.69 points")
    (accuracy, *_) = compare.rows(compare.pairs(report["variants"]))
    assert accuracy.cells[1] == compare.Cell("0.8979", words.NONE)


def test_a_slower_file_is_said_to_be_slower(finished):
    report = gather(finished)
    for entry in report["variants"][3]["bench"]:
        entry["p50_ms"] *= 10
    headline, _ = compare.verdict(report)
    assert "is 0.4× the speed of the original" in headline
    row = next(row for row in compare.rows(compare.pairs(report["variants"])) if row.title.startswith("p50"))
    assert row.cells[1].change == "2.3× slower"
    assert row.cells[1].is_better is False


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


def test_energy_is_never_shown_without_its_kind():
    joules = {"net_j": 0.031, "meter": "rapl", "scope": "cpu package"}
    assert words.energy({**joules, "kind": "measured"}) == "0.0310 J"
    assert words.energy({**joules, "kind": "estimated"}) == "0.0310 J (estimated)"
    assert words.energy({"kind": "unavailable", "net_j": None}) == "unavailable"


def test_joules_of_two_kinds_are_not_compared(finished):
    report = gather(finished)
    for each, kind in zip(report["variants"], ("measured", "measured", "measured", "estimated"), strict=True):
        for entry in each["bench"]:
            entry["energy"] = {"kind": kind, "net_j": entry["p50_ms"] / 100, "meter": "rapl", "scope": "cpu package"}
    rows = {row.title: row.cells for row in compare.rows(compare.pairs(report["variants"]))}
    fp32, int8 = rows["energy, 1×32"]
    assert fp32.change == "5.5× less"
    assert int8.change == ""


def test_operations_are_listed_whatever_the_threads(finished):
    report = gather(finished)
    for each in report["variants"]:
        each["bench"] = [entry | {"threads": 4} for entry in each["bench"]]
    titles = [row.title for row in compare.rows(compare.pairs(report["variants"]))]
    assert titles[1:3] == ["p50, 1×32, 4 threads", "p50, 1×128, 4 threads"]
    assert {"FLOPs, 1×32", "FLOPs, 1×128"} <= set(titles)
    assert titles[-1] == "energy"


def test_a_file_of_the_same_size_is_said_to_be(finished):
    report = gather(finished)
    report["variants"][3]["size_bytes"] = report["variants"][1]["size_bytes"]
    assert "faster, about the same size, and loses" in compare.verdict(report)[0]


def test_images_are_measured_by_the_batch(finished):
    bench = json.loads((finished / "bench.json").read_text())
    for each in bench["variants"]:
        each["bench"] = [each["bench"][0] | {"length": None}]
    write(finished / "bench.json", bench)
    report = page.write(finished, no_gates)
    text = (finished / "report/index.html").read_text()
    assert "p50, batch 1" in text
    assert "p50 in ms at batch 1" in text
    card.write_card(finished / "03-quantize", report, "onnx")
    assert "| file | accuracy | p50, batch 1 |" in (finished / "03-quantize/README.md").read_text()


def test_axes_have_round_ticks():
    assert figures.Axis(0.87, 0.91, 0, 100).ticks() == pytest.approx([0.87, 0.88, 0.89, 0.90, 0.91])
    assert figures.Axis(0.7, 12.0, 0, 100, is_log=True).ticks() == pytest.approx([1, 2, 5, 10])
    assert len(figures.Axis(3.0, 4.5, 0, 100, is_log=True).ticks()) > 2


def test_charts_survive_equal_numbers(finished):
    report = gather(finished)
    for each in report["variants"]:
        each.update(accuracy=1.0, n_examples=0)
    assert len(figures.accuracy_against_latency(report["variants"])) == 2
    assert figures.rounds([{"round": 0, "loss": 1.0}, {"round": 1, "loss": 1.0}])
    assert figures.rounds([{"round": 0, "loss": 1.0}]) == []


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
    report = page.write(finished, no_gates)
    card.write_card(finished / "03-quantize", report, "onnx")
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
    assert "On AMD EPYC with onnxruntime 1.31.1" in text
    assert "| compressed int8 | 0.8853 | 0.880 ms | 3.06 ms | 13.1 MiB | 22.7 M |" in text
    assert 'ORTModelForSequenceClassification.from_pretrained("path/to/this/folder", file_name="model.onnx")' in text


def test_the_card_of_a_model_folder(finished):
    report = page.write(finished, no_gates)
    (finished / "01-project/model").mkdir()
    card.write_card(finished / "01-project/model", report, "model")
    text = (finished / "01-project/model/README.md").read_text()
    front = front_matter(finished / "01-project/model/README.md")
    assert front["library_name"] == "compressor"
    assert "model-index" not in front
    assert 'compressor.load("path/to/this/folder")' in text
    assert "13.4 M parameters" in text
    assert "0.8800 on a held-out share" in text


def test_no_path_of_this_machine_gets_into_a_card(finished):
    report = page.write(finished, no_gates)
    report["recipe"]["model"]["checkpoint"] = str(finished)
    report["recipe"]["data"]["dataset"] = "../data/reviews.csv"
    card.write_card(finished / "02-export", report, "onnx")
    text = (finished / "02-export/README.md").read_text()
    assert not {"base_model", "datasets", "model-index"} & front_matter(finished / "02-export/README.md").keys()
    assert str(finished) not in text
    assert "reviews.csv" not in text


def test_the_card_of_a_run_that_was_not_measured(unfinished):
    report = page.write(unfinished, no_gates)
    (unfinished / "00-drop_layers/model").mkdir()
    card.write_card(unfinished / "00-drop_layers/model", report, "model")
    text = (unfinished / "00-drop_layers/model/README.md").read_text()
    assert "## Measured" not in text
    assert "whole layers" in text


def test_the_report_needs_neither_torch_nor_pydantic():
    code = "import sys, compressor.report.page, compressor.report.card, compressor.gate\n"
    code += "print({'torch', 'pydantic', 'transformers', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
