"""Rounds and phases that are found again, and the log that goes with them."""

import json

import pytest
import tiny
import torch

from compressor.model import Model, Task
from compressor.training import journal
from compressor.training.journal import DryJournal, Journal


@pytest.fixture
def model():
    net = tiny.tiny("mlp")
    return Model(net, tiny.arch_of(net), Task(*tiny.task_of(net)))


def add_(model, number):
    with torch.no_grad():
        for parameter in model.net.parameters():
            parameter.add_(number)


def work(model, notes, last=None):
    """Three rounds that change the weights and a named tensor; stops after the last one that is saved."""
    notes.state["seen"] = torch.zeros(2)
    for round_ in notes.rounds(model, 3):
        if last is not None and round_ > last:
            return
        add_(model, 0.5 + round_)
        notes.state["seen"] += round_ + 1
        notes.log(round=round_, n_seen=int(notes.state["seen"][0]))


@pytest.mark.parametrize("last", [0, 1])
def test_rounds_go_on_where_they_stopped(model, tmp_path, last):
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole, parts = model.copy(), model.copy()
    expected = Journal(tmp_path / "whole", "key", "label")
    work(whole, expected)
    work(model.copy(), Journal(tmp_path / "parts", "key", "label"), last)
    found = Journal(tmp_path / "parts", "key", "label")
    work(parts, found)
    assert torch.equal(found.state["seen"], expected.state["seen"])
    assert all(torch.equal(a, b) for a, b in zip(whole.net.parameters(), parts.net.parameters(), strict=True))
    logs = [(tmp_path / name / "rounds.jsonl").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert [json.loads(line)["n_seen"] for line in logs[0].splitlines()] == [1, 3, 6]


def test_only_the_last_round_is_kept_and_nothing_at_the_end(model, tmp_path):
    notes = Journal(tmp_path, "key", "label")
    work(model, notes)
    assert {file.name for file in tmp_path.glob("*.safetensors")} == {"round-3.safetensors", "state-3.safetensors"}
    (tmp_path / ".step-0-1-9.safetensors.partial").write_bytes(b"cut short")
    notes.clear()
    assert [file.name for file in tmp_path.iterdir()] == ["rounds.jsonl"]


def test_a_phase_is_saved_now_and_then_and_found_by_its_own_tag_only(tmp_path, monkeypatch):
    notes = Journal(tmp_path, "key", "label")
    notes.state["seen"] = torch.ones(1)
    notes.n_fits = 1
    notes.saver()(1, lambda: {"weight": torch.ones(2)})
    assert notes.resume_step() == (0, None), "it is too early to save"
    monkeypatch.setattr(journal, "SECONDS_BETWEEN_SAVES", 0.0)
    save = notes.saver()
    for step in (2, 3):
        save(step, lambda: {"weight": torch.full((2,), 7.0)})
    assert len(list(tmp_path.glob("step-*.safetensors"))) == 1
    notes.state["seen"].zero_()
    step, saved = notes.resume_step()
    assert step == 3
    assert saved is not None
    assert saved["weight"].tolist() == [7.0, 7.0]
    assert notes.state["seen"].item() == 1.0
    notes.n_fits = 2
    assert notes.resume_step() == (0, None), "this was another phase"


def test_a_dry_journal_goes_through_all_rounds_and_writes_nothing(model, tmp_path):
    notes = DryJournal(tmp_path, "key", "label")
    assert list(notes.rounds(model, 3)) == [0, 1, 2]
    notes.log(loss=1.0)
    notes.write_json("a.json", {})
    assert list(tmp_path.iterdir()) == []
