"""One call of the `compress` command: what all of its commands share."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compressor.bench.plan import MOST_BATCH, MOST_LENGTH, MOST_THREADS
from compressor.cli.amounts import input_shape

if TYPE_CHECKING:
    from compressor.report.document import Report

STDOUT, STDERR = 1, 2


@dataclass
class Call:
    """What every command and the error handling after it must know."""

    arguments: Sequence[str]
    run_dir: Path | None = None

    @property
    def is_json(self) -> bool:
        """Whether stdout takes one line of JSON; asked before click has parsed anything, for its errors too."""
        return "--json" in self.arguments

    def answer(self, data: object, text: str) -> None:
        """Write the answer of a command, and nothing else, to stdout."""
        click.echo(json.dumps(data) if self.is_json else text)


pass_call = click.make_pass_decorator(Call)
json_option = click.option("--json", is_flag=True, expose_value=False, help="Print exactly one line of JSON on stdout.")
set_option = click.option(
    "settings",
    "--set",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key: stages.0.retrain.steps=5. Repeatable.",
)


def shape_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say at which points to measure."""
    for option in (
        click.option(
            "shapes",
            "--shape",
            multiple=True,
            type=input_shape,
            metavar="NAME=1x3x320x320",
            help="Shape of an input whose axes the file leaves free. Repeatable.",
        ),
        click.option("--threads", multiple=True, type=click.IntRange(1, MOST_THREADS), help="Default: 1. Repeatable."),
        click.option(
            "lengths",
            "--length",
            multiple=True,
            type=click.IntRange(1, MOST_LENGTH),
            help="Default: 32 and 128. Repeatable.",
        ),
        click.option(
            "batch_sizes",
            "--batch-size",
            multiple=True,
            type=click.IntRange(1, MOST_BATCH),
            help="Default: 1. Repeatable.",
        ),
    ):
        command = option(command)
    return command


def examples(*lines: str) -> str:
    """Write the end of a command's help."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def fail(call: Call, message: str, exit_code: int, result: Mapping[str, object] | None = None, text: str = "") -> int:
    """Say what went wrong; a result that there is all the same is still the answer."""
    if call.is_json:
        click.echo(json.dumps({**(result or {}), "error": message, "exit_code": exit_code}))
    elif text:
        click.echo(text)
    for line in message.splitlines():
        click.echo(f"compress: {line}", err=True)
    return exit_code


def summary(report: "Report", folder: Path) -> str:
    """Sum up a run, and say where its report lies."""
    from compressor.report import text

    return f"{text.summary(report)}\n\nreport: {folder / 'index.html'}"


@contextlib.contextmanager
def only_answers_on_stdout() -> Iterator[None]:
    """Send what libraries print to stderr: torch's exporter by Python, tokenizers in Rust by the descriptor."""
    if sys.stdout is None:  # closed by whoever started us
        yield
        return
    sys.stdout.flush()
    kept = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, STDOUT)
        os.close(kept)
