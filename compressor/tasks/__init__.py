"""Tasks, a file for each: what a network of the task is called, reads, answers, learns and is judged by."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from torch import Tensor

from compressor.inputs import Inputs
from compressor.plugins import discover
from compressor.tasks import _names


class TaskFile(Protocol):
    """A file of this folder; its name with hyphens is the task's.

    A task that optimum has no auto class for brings one: ``auto_class() -> type``.
    """

    HEAD: str
    """End of the name of a network's class, such as `ForSequenceClassification`."""
    INPUTS: Inputs
    """What the network reads."""
    OUTPUT_NAMES: tuple[str, ...]
    """What is proved, compared and exported, as far as a network gives it; the first is what is judged."""
    SCORE: str
    """Name of the metric that is judged."""

    OPTIMUM: str
    """Name of optimum's class that opens an exported folder; empty where there is none."""

    def loss(self, outputs: Mapping[str, Tensor], labels: Tensor, weight: float = 1.0) -> Tensor:
        """Give the loss of a network's outputs for a batch; ``weight`` is that of the labels."""

    def metrics(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Judge the answers to a whole split."""

    def snippet(self, file: str) -> str:
        """Write how the exported file is used, for the model card."""


@dataclass(frozen=True)
class Task:
    """What a network does, with the words and the preprocessing that belong to it."""

    name: str
    labels: tuple[str, ...]
    processor: Any
    """Tokenizer or image processor; None for a table."""
    input_names: tuple[str, ...]
    """In the order of `Inputs.NAMES`, as far as they are taken."""
    features: tuple[str, ...] = ()
    """Names of the numbers in a row of a table, in order."""

    @property
    def file(self) -> TaskFile:
        """The file of the task."""
        return task_file(self.name)

    @property
    def inputs(self) -> Inputs:
        """What the network reads."""
        return self.file.INPUTS


@cache
def task_files() -> Mapping[str, TaskFile]:
    """Give every task by its name."""
    from compressor import tasks

    return {name.replace("_", "-"): file for name, file in discover(tasks, TaskFile).items()}


def known(name: str) -> str:
    """Give the name of a task by any of its names, such as `sentiment-analysis`; ValueError names those there are."""
    if name in task_files():
        return name
    if (usual := _names.canonical(name)) in task_files():
        return usual
    near = _names.nearest(name, task_files())
    hint = f"did you mean {near!r}?" if near else f"choose from {', '.join(task_files())}"
    raise ValueError(f"no such task; {hint}")


def task_file(name: str) -> TaskFile:
    """Give the file of a task."""
    return task_files()[name]


def auto_class(name: str) -> Any:
    """Give transformers' way from a config to the network: the task's own, or that of optimum's table."""
    own = getattr(task_file(name), "auto_class", None)
    return own() if own else _names.auto_class(name)


def inputs_of(main_input_name: str) -> Inputs:
    """Give what a network reads whose task is not known, by the name of its main input."""
    return next(file.INPUTS for file in task_files().values() if main_input_name in file.INPUTS.NAMES)
