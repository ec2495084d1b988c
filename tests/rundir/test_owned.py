"""What a run may touch: a folder that no run wrote is refused, and in a run's folder what is somebody's own stays."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from compressor import cli, rundir
from compressor.errors import RecipeError, RunDirError
from compressor.files import write_json
from compressor.pipeline import engine
from compressor.recipe.schema import Recipe
from compressor.rundir import owned
from compressor.rundir import step as stepdir

ONE: Any = {"n": 1}  # stand for records
TWO: Any = {"n": 2}
RUN_JSON = {"format": 1, "recipe_digest": "0"}


@pytest.fixture
def run(tmp_path):
    """Give the folder of a run that has begun."""
    path = tmp_path / "run"
    path.mkdir()
    write_json(path / "run.json", RUN_JSON)
    return path


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")


def names(folder):
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    "own",
    [("notes.txt",), ("recipe.yaml", "bench.json"), ("run.json",), ("lock",), ("00-finetune/notes.txt",), (".git",)],
)
def test_a_folder_that_no_run_wrote_is_refused(tmp_path, own):
    fill(tmp_path, *own, "original/mine.txt")
    said = r": contains '.*', which no run wrote; choose another --run-dir, or an empty folder"
    with pytest.raises(RunDirError, match=said), rundir.open_run(tmp_path):
        pytest.fail("opened")
    assert names(tmp_path) == {*own, "original/mine.txt"}


def test_the_command_leaves_a_folder_of_ones_own_as_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = "model: {checkpoint: nowhere/none, task: text-classification}\ndata: {dataset: sklearn:digits}\n"
    fill(tmp_path, "00-finetune/notes.txt", "original/mine.txt", "bench.json")
    (tmp_path / "recipe.yaml").write_text(recipe + "stages: [{stage: shrink}]\n")
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    assert cli.main(["--recipe", "recipe.yaml", "--run-dir", "."]) == 8
    assert capsys.readouterr().err.count("\n") == 1
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


def test_an_empty_folder_and_a_run_are_opened(tmp_path, run):
    for path in (tmp_path / "new", run):
        with rundir.open_run(path) as home:
            assert home.path == path
            assert (path / "lock").read_text() == f"process {os.getpid()}"


def test_a_run_that_was_killed_before_its_first_file_is_known_by_its_lock(tmp_path):
    fill(tmp_path, ".run.json.partial", "00-finetune/key.json")
    (tmp_path / "lock").write_text("process 12")
    with rundir.open_run(tmp_path):
        assert names(tmp_path) == {"lock", "00-finetune/key.json"}


def test_a_run_that_ended_before_its_first_file_leaves_no_mark(tmp_path):
    with pytest.raises(ZeroDivisionError), rundir.open_run(tmp_path):
        raise ZeroDivisionError
    fill(tmp_path, "notes.txt")
    with pytest.raises(RunDirError, match="which no run wrote"), rundir.open_run(tmp_path):
        pytest.fail("opened")


@pytest.mark.parametrize("place", ["00-finetune", "original", "00-finetune/model"])
def test_a_folder_that_is_a_link_is_refused(tmp_path, run, place):
    fill(tmp_path / "elsewhere", "model.onnx")
    (run / place).parent.mkdir(exist_ok=True)
    (run / place).symlink_to(tmp_path / "elsewhere")
    said = "should be a folder of the run, is a link or a file; move it away"
    with pytest.raises(RunDirError, match=said), rundir.open_run(run):
        pytest.fail("opened")


def test_removing_a_stage_keeps_what_it_did_not_write(run):
    folder = run / "00-finetune"
    own = {"notes.txt", "model/notes.txt", "sub/model.safetensors", "results.json", ".notes.txt.partial"}
    written = [
        "model/model.safetensors",
        "model/tokenizer_config.json",
        "done.json",
        "key.json",
        "step-0-1-9.safetensors",
    ]
    fill(folder, *own, *written)
    stepdir.start(folder, "another key")
    assert names(folder) == {*own, "key.json"}
    stepdir.remove(folder)
    assert names(folder) == own
    fill(run / "01-shrink", *written)
    stepdir.remove(run / "01-shrink")
    assert not (run / "01-shrink").exists()


def test_a_step_that_another_key_finished_starts_from_nothing(run):
    folder = run / "00-finetune"
    stepdir.start(folder, "key")
    fill(folder, "model/model.safetensors", "round.json")
    stepdir.start(folder, "key")
    assert names(folder) == {"key.json", "model/model.safetensors", "round.json"}  # it resumes
    stepdir.finish(folder, "key", ONE, temporary=("round.json",))
    assert stepdir.record_if_done(folder, "key", "") == ONE
    stepdir.start(folder, "key")
    assert names(folder) == {"key.json"}


def test_facts_change_and_digests_stay(run):
    folder = run / "00-finetune"
    stepdir.start(folder, "key")
    fill(folder, "model/model.safetensors")
    stepdir.finish(folder, "key", ONE)
    stepdir.replace_record(folder, TWO)
    assert stepdir.record_if_done(folder, "key", "") == TWO
    fill(folder, "notes.txt")
    assert stepdir.record_if_done(folder, "key", "") == TWO
    (folder / "model/model.safetensors").write_text("mind")
    assert stepdir.record_if_done(folder, "key", "") is None


def test_what_a_library_writes_is_known_by_its_name(run, bert_folder):
    copied = run / "00-finetune/model"
    fill(copied, *(file.name for file in bert_folder.iterdir()))
    assert {file.name for file in owned.stage_files(copied.parent)} == {file.name for file in bert_folder.iterdir()}


def test_the_recipe_being_read_is_not_written_over(run, bert_folder, sentences_csv, capsys):
    recipe = {
        "model": {"checkpoint": str(bert_folder), "task": "text-classification"},
        "data": {"dataset": str(sentences_csv)},
        "stages": [{"stage": "shrink"}],
    }
    file = run / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    before = file.read_bytes()
    assert cli.main(["--recipe", str(file), "--run-dir", str(run)]) == 8
    assert "the recipe being read would be overwritten; choose another --run-dir" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_more_than_one_process_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match=r"WORLD_SIZE: a run is one process, got 2; start it without torchrun"):
        engine.run(Recipe.model_construct(), Path())


def test_a_folder_in_the_place_of_a_file_is_refused(run):
    (run / "00-project/model/model.safetensors").mkdir(parents=True)
    with pytest.raises(RunDirError, match=r"model\.safetensors: a folder in the place of a file of this run; move it"):
        owned.require_ours(run)
