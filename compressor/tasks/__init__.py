"""Tasks, one file each: the class name, inputs, outputs, loss and metrics of its networks."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from torch import Tensor

from compressor.inputs import Inputs
from compressor.plugins import discover
from compressor.tasks import _names


class TaskFile(Protocol):
    """A file of this folder; its name, with hyphens, is that of the task.

    If optimum has no auto class for the task, the file defines one: ``auto_class() -> type``.
    """

    HEAD: str
    """End of the name of a network's class, such as `ForSequenceClassification`."""
    INPUTS: Inputs
    """Kind of input of the network."""
    OUTPUT_NAMES: tuple[str, ...]
    """Outputs that are proved equal, compared and exported, if a network has them; metrics are of the first."""
    SCORE: str
    """Name of the main metric."""

    OPTIMUM: str
    """Name of optimum's class that opens an exported folder; empty if there is none."""

    def loss(self, outputs: Mapping[str, Tensor], labels: Tensor, weight: float = 1.0) -> Tensor:
        """Return the loss of a network's outputs for a batch; ``weight`` is that of the labels."""

    def metrics(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Compute the metrics of the logits for a whole split."""

    def snippet(self, file: str) -> str:
        """Return code that runs the exported file, for the model card."""


@dataclass(frozen=True)
class Task:
    """The task of a network, with its labels and its preprocessing."""

    name: str
    labels: tuple[str, ...]
    processor: Any
    """Tokenizer or image processor; None for a table."""
    input_names: tuple[str, ...]
    """Inputs that the network takes, in the order of `Inputs.NAMES`."""
    features: tuple[str, ...] = ()
    """Names of the numbers in a row of a table, in order."""
    is_double: bool = False
    """Whether the rows of a table are float64, as large numbers need; else float32."""

    @property
    def file(self) -> TaskFile:
        """The file of the task."""
        return task_file(self.name)

    @property
    def inputs(self) -> Inputs:
        """Kind of input of the network."""
        return self.file.INPUTS


@cache
def task_files() -> Mapping[str, TaskFile]:
    """Return the file of every task by its name."""
    from compressor import tasks

    return {name.replace("_", "-"): file for name, file in discover(tasks, TaskFile).items()}


def usual_name(name: str) -> str:
    """Return the usual name of a task, given any of its names; ValueError lists the tasks for an unknown name."""
    if name in task_files():
        return name
    if (usual := _names.canonical(name)) in task_files():  # such as text-classification for sentiment-analysis
        return usual
    near = _names.nearest(name, task_files())
    hint = f"did you mean {near!r}?" if near else f"choose from {', '.join(task_files())}"
    raise ValueError(f"no such task; {hint}")


def task_file(name: str) -> TaskFile:
    """Return the file of a task."""
    return task_files()[name]


def auto_class(name: str) -> Any:
    """Return the auto class of a task: its own, or the one in optimum's table."""
    own = getattr(task_file(name), "auto_class", None)
    return own() if own else _names.auto_class(name)


def inputs_of(main_input_name: str) -> Inputs:
    """Return the kind of input of a network by the name of its main input, without knowing its task."""
    return next(file.INPUTS for file in task_files().values() if main_input_name in file.INPUTS.NAMES)
