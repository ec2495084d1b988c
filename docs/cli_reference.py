"""Write the commands and options in reference/cli.md from the command line itself: `python docs/cli_reference.py`."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from compressor.cli import cli

PAGE = Path(__file__).parent / "reference" / "cli.md"
START, END = "<!-- written by docs/cli_reference.py -->\n", "<!-- end -->\n"
AMOUNTS = {"percent": "share, such as `2%`", "seconds": "time, such as `10s`", "n_bytes": "memory, such as `512MiB`"}


def reference(page: str) -> str:
    """Return the page with its generated part renewed; the rest is written by hand."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    commands = [("compress", cli), *((f"compress {name}", command) for name, command in sorted(cli.commands.items()))]
    sections = "\n".join(line for name, command in commands for line in _section(name, command))
    return f"{before}{START}\n{sections}\n{END}{after}"


def _section(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    pieces = [piece for piece in command.collect_usage_pieces(context) if piece != "COMMAND [ARGS]..."]
    yield f"### {name}\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    yield f"```text\n{' '.join([name, *pieces])}\n```\n"
    yield "| option | value | |"
    yield "|---|---|---|"
    for option in command.params:
        if isinstance(option, click.Option):
            yield f"| {_names(option)} | {_value(option, context)} | {_cell(option.help or '')} |"
    examples = inspect.cleandoc((command.epilog or "").replace("\b", "").replace("Examples:", ""))
    yield f"\n```text\n{examples}\n```\n"


def _names(option: click.Option) -> str:
    return ", ".join(f"`{name}`" for name in option.opts)


def _value(option: click.Option, context: click.Context) -> str:
    """Describe which values an option takes."""
    kind = option.type
    if option.is_flag:
        return ""
    if option.metavar or isinstance(kind, click.Choice):
        return f"`{_cell(option.make_metavar(context))}`"
    if isinstance(kind, click.IntRange | click.FloatRange):
        word = "integer" if isinstance(kind, click.IntRange) else "number"
        return f"{word}, {'above' if kind.min_open else 'at least'} {kind.min}"
    return AMOUNTS.get(kind.name, kind.name)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(reference(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
