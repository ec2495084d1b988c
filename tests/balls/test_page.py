"""docs/explanation/balls.md: its examples run, and its table has one row for each ball, in agreement with the file."""

import re
from pathlib import Path

import pytest

from compressor import balls
from compressor.plugins import discover

PAGE = (Path(__file__).resolve().parents[2] / "docs/explanation/balls.md").read_text()
BALLS = discover(balls, balls.Ball)


def test_the_examples_run():
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) >= 4
    exec("\n".join(examples), {})


def table():
    section = PAGE.partition("## The balls\n")[2].partition("\n## ")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in section.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in rows}


def test_the_table_has_a_row_for_each_ball():
    assert set(table()) == set(BALLS)


@pytest.mark.parametrize("name", BALLS)
def test_the_table_says_what_the_file_says(name):
    *_, zeroes, is_nearest = table()[name]
    assert is_nearest == ("yes" if BALLS[name].EXACT else "no")
    told = {name: zeroes.startswith(name) for name in ("columns", "nothing", "ranks")}
    assert told.get(BALLS[name].ZEROES, "entries" in zeroes or "slices" in zeroes)
