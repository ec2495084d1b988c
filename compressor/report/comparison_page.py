"""Write a comparison: comparison.json, one page that opens without a network, and lines for a terminal."""

from pathlib import Path

from compressor.files import explained, write_json, write_text
from compressor.report import comparison_charts, comparison_table, words
from compressor.report.comparison import Comparison, Row, name
from compressor.report.page import templates
from compressor.report.text import aligned

JSON, PAGE = "comparison.json", "index.html"
FILES = (JSON, PAGE)


def write(comparison: Comparison, folder: Path) -> None:
    """Write ``comparison.json`` and ``index.html`` into a folder; RunDirError if that fails."""
    with explained(folder):
        write_json(folder / JSON, comparison)
        write_text(folder / PAGE, render(comparison))


def render(comparison: Comparison) -> str:
    """Draw the page."""
    page = templates().get_template("comparison.html.j2")
    return page.render(comparison=comparison, table=comparison_table, charts=comparison_charts, words=words)


def text(comparison: Comparison) -> str:
    """Show the table on a terminal, with what it was taken on below."""
    rows = comparison["rows"]
    lines = [comparison_table.cells(row, rows, len(comparison["layers"])) for row in rows]
    blocks = [
        aligned([comparison_table.header(rows), *lines], numbers=True),
        "\n".join(comparison_table.notes(rows)),
        "\n".join(comparison_table.facts(comparison)),
    ]
    return "\n\n".join(block for block in blocks if block)


def line(row: Row) -> str:
    """Write the numbers of a row that is done."""
    title = f"{name(row['method'], row['precision'], row['budget']):<24}"
    if row["accuracy"] is None:
        return f"{title} no layer was factorized"
    times = ", ".join(f"{comparison_table.ratio(row, each['shape'])} at {each['shape']}" for each in row["speeds"])
    return f"{title} accuracy {words.accuracy(row['accuracy'])}, time {times} of dense"
