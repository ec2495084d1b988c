"""What a stage leaves to resume from: whole, or not resumed from at all."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from compressor.model import Model, load_model
from compressor.model.checkpoint import Source
from compressor.training import journal as module
from compressor.training.journal import Journal


@pytest.fixture
def model(bert_folder: Path) -> Model:
    return load_model(Source(checkpoint=str(bert_folder), task="text-classification"), None)


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def begun(folder: Path, model: Model) -> Journal:
    """Give a journal of two rounds whose first is on disk."""
    journal = Journal(folder, "key", "test")
    journal.state["score"] = torch.ones(2)
    rounds = journal.rounds(model, 2)
    next(rounds)
    journal.log(round=0, loss=0.5)
    next(rounds)
    return journal


def test_a_whole_round_is_resumed(tmp_path, model):
    begun(tmp_path, model)
    assert list(Journal(tmp_path, "key", "test").rounds(model, 2)) == [1]


@pytest.mark.parametrize("spoil", [flipped, cut, Path.unlink])
@pytest.mark.parametrize("name", ["round.json", "round-1.safetensors", "state-1.safetensors"])
def test_a_damaged_round_is_run_again(tmp_path, model, name, spoil: Callable[[Path], None], capsys):
    begun(tmp_path, model)
    capsys.readouterr()
    spoil(tmp_path / name)
    assert list(Journal(tmp_path, "key", "test").rounds(model, 2)) == [0, 1]
    is_said = "is damaged, not resumed from there" in capsys.readouterr().err
    assert is_said == (name != "round.json" or spoil is not Path.unlink)


@pytest.mark.parametrize("spoil", [flipped, cut, Path.unlink])
@pytest.mark.parametrize("name", ["step.json", "step-0-0-3.safetensors"])
def test_a_damaged_step_is_not_resumed_from(tmp_path, monkeypatch, name, spoil: Callable[[Path], None]):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", 0.0)
    journal = Journal(tmp_path, "key", "test")
    journal.saver()(3, lambda: {"weights": torch.arange(9.0)})
    assert json.loads((tmp_path / "step.json").read_text())["step"] == 3
    step, saved = journal.resume_step()
    assert step == 3
    assert saved is not None
    spoil(tmp_path / name)
    assert journal.resume_step() == (0, None)
