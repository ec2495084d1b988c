"""docs/balls.md follows the code: its examples run, one after the other, and every ball has a row."""

import re
from pathlib import Path

from compressor import balls
from compressor.plugins import discover

PAGE = Path(__file__).resolve().parents[2] / "docs/balls.md"


def test_the_examples_run():
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) >= 4
    exec("\n".join(examples), {})


def test_every_ball_has_a_row_with_what_it_zeroes_and_whether_it_is_exact():
    section = PAGE.read_text().partition("## The balls\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    known = discover(balls)
    assert sorted(row[0].strip("`") for row in rows) == sorted(known)
    for name, *_, zeroes, nearest in rows:
        ball = known[name.strip("`")]
        assert nearest == ("yes" if ball.EXACT else "no"), name
        assert (zeroes == "nothing") == (ball.ZEROES == "nothing"), name
