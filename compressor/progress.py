"""Progress of long work on stderr: a bar on a terminal, one aligned line from time to time elsewhere."""

import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 20.0


class Steps:
    """Counts the steps of one phase and shows them."""

    def __init__(self, label: str, n_steps: int, bar: Progress | None) -> None:
        self.label, self.n_steps, self.bar = label, n_steps, bar
        self.task = bar.add_task(label, total=n_steps, note="") if bar else None
        self.last = time.monotonic()

    def show(self, step: int, note: str) -> None:
        """Report that `step` steps are done."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=step, note=note)
        elif step == self.n_steps or time.monotonic() - self.last > SECONDS_BETWEEN_LINES:
            self.last = time.monotonic()
            say(f"{self.label:<24} {step:>6}/{self.n_steps:<6} {note}")


def say(line: str) -> None:
    """Write one line to stderr."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(line, markup=False)


@contextmanager
def said_before() -> Iterator[None]:
    """Show nothing while something is done once more."""
    with redirect_stderr(io.StringIO()):
        yield


@contextmanager
def steps(label: str, n_steps: int) -> Iterator[Steps]:
    """Show the progress of a phase of known length."""
    if not sys.stderr.isatty():
        yield Steps(label, n_steps, None)
        return
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Steps(label, n_steps, bar)
