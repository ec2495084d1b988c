"""The teacher's outputs in files of the run: what they hold, when they are used again, and what is refused."""

import shutil
from collections import namedtuple

import pytest
import torch

import compressor
from compressor.data import Dataset, open_dataset, prepare
from compressor.errors import RunDirError
from compressor.model import Source, load_model
from compressor.rundir import owned
from compressor.training import phase, remembered
from compressor.training.options import Distill
from compressor.training.remembered import AnswerFiles, RememberingTeacher
from compressor.training.teacher import Teacher, n_state_bytes, teacher_for

TASK, LAYERS = "text-classification", (0, 1)
STATES, LOGITS = Distill(logits=1.0, hidden_states=1.0), Distill(logits=1.0)
Usage = namedtuple("Usage", "free")


@pytest.fixture
def model(bert_folder):
    return load_model(Source(checkpoint=str(bert_folder), task=TASK), None)


@pytest.fixture
def split(sentences_csv, model):
    options = Dataset(dataset=str(sentences_csv), held_out=0.1)
    return prepare(open_dataset(options, TASK), options, model.task, seed=0).train


@pytest.fixture
def teacher(model, split, tmp_path):
    def make(wanted=STATES, key="key", n_examples=None):
        n_examples = len(split) if n_examples is None else n_examples
        return teacher_for(model, LAYERS, wanted, "fp32", split, n_examples, AnswerFiles(tmp_path, key))

    return make


def counted(monkeypatch):
    """Count the runs of the original model."""
    calls: list[int] = []
    answer = Teacher.answer

    def answering(self, batch, indices):
        calls.append(len(indices))
        return answer(self, batch, indices)

    monkeypatch.setattr(Teacher, "answer", answering)
    return calls


def test_it_says_what_the_teacher_says(model, split, teacher):
    remembering = teacher()
    assert isinstance(remembering, RememberingTeacher)
    indices = torch.tensor([5, 0, 17])
    batch = split.batch(indices)
    mask = batch["attention_mask"].bool()
    ours, theirs = remembering.answer(batch, indices), Teacher(model, LAYERS, STATES, "fp32").answer(batch, indices)
    torch.testing.assert_close(ours.logits, theirs.logits)
    for ours_states, their_states in zip(ours.hidden_states, theirs.hidden_states, strict=True):
        assert ours_states.dtype == torch.bfloat16
        torch.testing.assert_close(ours_states.float()[mask], their_states[mask], rtol=1e-2, atol=1e-2)


def test_logits_alone_take_no_states(split, teacher, tmp_path):
    indices = torch.tensor([3, 1])
    answer = teacher(LOGITS).answer(split.batch(indices), indices)
    assert answer.logits.shape == (2, 2)
    assert answer.hidden_states == []
    assert (tmp_path / owned.TEACHER_STATES).stat().st_size == 0


def test_few_examples_are_not_worth_it(teacher, tmp_path):
    assert isinstance(teacher(n_examples=8), Teacher)
    assert list(tmp_path.iterdir()) == []


def test_the_states_are_counted_to_the_byte(model, split, teacher, tmp_path):
    teacher()
    written = (tmp_path / owned.TEACHER_STATES).stat().st_size
    assert n_state_bytes(Teacher(model, LAYERS, STATES, "fp32"), split) == written


def test_complete_files_are_used_again(split, teacher, monkeypatch):
    indices = torch.tensor([2, 9])
    first = teacher().answer(split.batch(indices), indices)
    calls = counted(monkeypatch)
    again = teacher().answer(split.batch(indices), indices)
    assert len(calls) == 1  # of the one example by which the states are counted
    assert torch.equal(first.logits, again.logits)
    assert all(map(torch.equal, first.hidden_states, again.hidden_states))


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", owned.TEACHER_FILES)
@pytest.mark.parametrize("spoil", [cut, flip, lambda file: file.unlink()], ids=["cut", "one bit", "removed"])
def test_spoiled_files_are_written_again(teacher, tmp_path, monkeypatch, name, spoil):
    teacher()
    written = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    spoil(tmp_path / name)
    calls = counted(monkeypatch)
    teacher()
    assert len(calls) > 1
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == written


def test_another_teacher_replaces_the_files(teacher, tmp_path, monkeypatch):
    old = teacher()
    calls = counted(monkeypatch)
    teacher(key="other")
    assert len(calls) > 1
    old.states.sum()  # still mapped, though its file is gone: no bus error


def test_a_full_disk_is_refused_before_anything_is_written(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(free=100))
    with pytest.raises(
        RunDirError, match=r"the teacher's outputs take .* GB, the disk has .* GB free; free some space"
    ):
        teacher()
    assert list(tmp_path.iterdir()) == []


def test_a_run_removes_them_once_no_stage_needs_them(bert_folder, sentences_csv, tmp_path, monkeypatch):
    seen = []
    fit = phase.fit
    there = [tmp_path / "run" / name for name in owned.TEACHER_FILES]

    def fitting(phase_, *given):
        seen.append(all(file.exists() for file in there))
        return fit(phase_, *given)

    monkeypatch.setattr("compressor.training.trainer.fit", fitting)
    retrain = {"epochs": 2, "batch_size": 16}
    recipe = {
        "model": {"task": TASK, "checkpoint": str(bert_folder)},
        "data": {"dataset": str(sentences_csv)},
        "stages": [
            {"stage": "finetune", "retrain": {**retrain, "distill": {"hidden_states": 1.0}}},
            {"stage": "finetune", "retrain": retrain},
        ],
    }
    compressor.run(recipe, tmp_path / "run")
    assert seen == [True, False]
    assert not any(file.exists() for file in there)


def test_a_killed_write_is_cleaned_when_the_next_run_needs_no_teacher(tmp_path):
    (tmp_path / owned.TEACHER_STATES).write_bytes(b"half")
    remembered.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []
