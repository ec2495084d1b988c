"""Files of a finished run, spoiled in three ways: the run is healed. `spoil_every_file.py` resumes with each file."""

import json
import random
import shutil
from pathlib import Path

import pytest
from run_files import WAYS, contents, present, spoil, unlike

from compressor import cli
from compressor.measure import launch
from compressor.rundir import owned
from compressor.rundir import step as stepdir

RECIPE = """\
model: {{checkpoint: {checkpoint}, task: text-classification}}
data: {{dataset: {dataset}, held_out: 0.1}}
stages:
  - stage: project
    column_sparsity: 0.5
    retrain: {{steps: 2, batch_size: 8, lr: 1.0e-3}}
  - stage: shrink
  - stage: export
  - stage: quantize
bench: {{lengths: [8]}}
"""
REWRITTEN = ("lock", "recipe.yaml", "run.json", "report.json", "index.html", "README.md")  # by each run, unread
pytestmark = pytest.mark.xdist_group("spoiled")


@pytest.fixture(scope="module")
def finished(bert_folder, sentences_csv, tmp_path_factory):
    """Give the folder of a finished run, with its recipe beside it."""
    home = tmp_path_factory.mktemp("spoiled")
    text = RECIPE.format(checkpoint=bert_folder, dataset=sentences_csv)
    (home / "my.yaml").write_text(text)
    assert cli.main(["--recipe", str(home / "my.yaml"), "--run-dir", str(home / "run"), "--json"]) == 0
    return home / "run"


@pytest.fixture
def run(finished, tmp_path):
    """Give a copy that a test may spoil."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def no_bench(finished, monkeypatch):
    """Let the bench answer what it said of the finished run: it takes seconds, and other tests run it."""
    found = (finished / "bench.json").read_text()
    monkeypatch.setattr(launch, "measure", lambda plan: json.loads(found))


def resume(run, finished, capsys, *more):
    capsys.readouterr()
    code = cli.main(["--recipe", str(finished.parent / "my.yaml"), "--run-dir", str(run), "--json", *more])
    shown = capsys.readouterr()
    return code, json.loads(shown.out), shown.err


def is_noticed(folder, file, capsys):
    """Whether a stage's folder no longer counts as done, and a line says which file is why."""
    key = json.loads((folder / "key.json").read_text()) if file.name != "key.json" else None
    key = key or json.loads((folder / "done.json").read_text())["key"]
    facts = stepdir.record_if_done(folder, key, "stage")
    said = capsys.readouterr().err
    return facts is None and (repr(str(file.relative_to(folder))) in said or not (folder / "done.json").exists())


@pytest.mark.parametrize("way", WAYS)
def test_each_spoiled_file_of_a_stage_is_noticed(run, way, capsys):
    folders = [run / "original", *run.glob("[0-9]*")]
    assert len(folders) == 5
    n_seen = 0
    for folder in folders:
        for file in present(folder):
            if file.name in REWRITTEN or file.name == "key.json":
                continue
            whole = file.read_bytes()
            spoil(file, way)
            assert is_noticed(folder, file, capsys), file
            file.write_bytes(whole)
            n_seen += 1
    assert n_seen > 30


def sample(finished, way):
    """Choose spoiled files at random, the same each time, but one of each place."""
    chance = random.Random(way)
    names = [str(file.relative_to(finished)) for file in present(finished)]
    places = ("03-quantize", "report", "bench", "run.json", "lock", "recipe.yaml", "original/model")
    return [chance.choice([name for name in names if name.startswith(place)]) for place in places]


@pytest.mark.usefixtures("no_bench")
@pytest.mark.parametrize("way", WAYS)
def test_a_spoiled_run_is_healed(run, finished, way, capsys):
    expected = contents(finished)
    for name in sample(finished, way):
        spoil(run / name, way)
        code, answer, _ = resume(run, finished, capsys)
        assert code == 0, (name, answer)
        assert unlike(run, expected) == [], name


def test_an_untouched_run_is_done_before(run, finished, capsys):
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*.safetensors")}
    code, _, said = resume(run, finished, capsys)
    assert code == 0
    assert said.count("done before") == 5  # four stages and the bench
    assert {file: file.stat().st_mtime_ns for file in run.rglob("*.safetensors")} == before


def test_what_is_partly_written_is_removed_at_the_next_start(run, finished, capsys):
    left = [run / ".run.json.partial", run / "00-project/.step-0-1-7.safetensors.partial"]
    own = [run / ".mine.partial", run / "00-project/.notes.txt.partial"]
    for file in (*left, *own):
        file.write_text("half")
    assert resume(run, finished, capsys)[0] == 0
    assert not any(file.exists() for file in left)
    assert all(file.exists() for file in own)


def test_other_shapes_of_the_bench_train_nothing_and_mix_nothing(run, finished, capsys):
    old = json.loads((finished / "report/report.json").read_text())
    code, report, said = resume(run, finished, capsys, "--set", "bench.batch_sizes=[4]", "--set", "bench.lengths=[16]")
    assert code == 0
    assert said.count("done before") == 4
    assert report["flops_at"] == "4x16"
    for place in ("original", *range(4)):
        before, now = ((each["original"] if place == "original" else each["stages"][place]) for each in (old, report))
        assert 8 < now["n_flops"] / before["n_flops"] < 9  # eight times the tokens, and attention a little more
    counts = [[entry["n_flops"] for entry in each["bench"]] for each in report["variants"]]
    assert len({tuple(count) for count in counts}) == 2  # original, result
    assert counts[0] == [report["original"]["n_flops"]]
    assert counts[-1] == [report["stages"][-1]["n_flops"]]


@pytest.mark.usefixtures("no_bench")
def test_other_gates_and_later_stages_leave_no_stale_digest(run, finished, capsys):
    before = {name: (run / name).read_bytes() for name in ("02-export/model.onnx", "01-shrink/surgery.json")}
    code, _, said = resume(
        run, finished, capsys, "--set", "gates.max_size_ratio=2", "--set", "stages.3.reduce_range=true"
    )
    assert code == 0
    assert "quantize           settings changed" in said
    facts = json.loads((run / "run.json").read_text())
    for name, content in before.items():
        assert (run / name).read_bytes() == content
        assert facts["recipe_digest"].encode() not in content
        assert json.loads((run / name).with_name("key.json").read_text()).encode() in content


def test_no_path_of_this_machine_is_published(run, finished, bert_folder):
    published = [*run.rglob("*.onnx"), *run.rglob("README.md"), *run.rglob("config.json"), *run.rglob("*tokenizer*")]
    published += [run / "run.json", *run.rglob("surgery.json"), *run.rglob("export.json")]
    assert len(published) > 20
    for file in published:
        for path in (bert_folder, finished.parent, Path(owned.__file__).parent):
            assert str(path).encode() not in file.read_bytes(), file
    assert json.loads((run / "run.json").read_text())["source"].startswith("a local checkpoint, sha256 ")


def test_another_number_of_threads_is_said(run, finished, capsys):
    facts = json.loads((run / "run.json").read_text())
    assert facts["environment"]["n_threads"] == 1
    facts["environment"]["n_threads"] = 3
    (run / "run.json").write_text(json.dumps(facts))
    code, report, said = resume(run, finished, capsys)
    assert code == 0
    assert "started with 3, resumed with 1: numbers may differ" in said
    assert {stage["n_threads"] for stage in report["stages"]} == {1}
