"""Progress on a terminal and elsewhere."""

import io

import pytest

from compressor import progress


class Terminal(io.StringIO):
    """Stands for the stderr of a terminal."""

    def isatty(self):
        return True


def test_a_terminal_shows_a_bar_with_its_note(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress.steps("train", 4) as shown:
        shown.show(3, "loss 0.5")
        assert shown.bar is not None
        [task] = shown.bar.tasks
        assert (task.completed, task.total, task.fields["note"]) == (3, 4, "loss 0.5")
    assert "3/4" in terminal.getvalue()
    assert "loss 0.5" in terminal.getvalue()


def test_elsewhere_there_is_a_line_at_the_end_and_now_and_then(capsys, monkeypatch):
    with progress.steps("train", 4) as shown:
        shown.show(1, "loss 2")
        monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1.0)
        shown.show(2, "loss 1")
        monkeypatch.undo()
        shown.show(3, "loss 0.9")
        shown.show(4, "loss 0.5")
    assert [line.split() for line in capsys.readouterr().err.splitlines()] == [
        ["train", "2/4", "loss", "1"],
        ["train", "4/4", "loss", "0.5"],
    ]


@pytest.mark.parametrize("line", ["[1/4] project", "a " + 200 * "long line "])
def test_a_line_is_written_as_it_is(line, capsys):
    progress.say(line)
    assert capsys.readouterr().err == f"{line}\n"
