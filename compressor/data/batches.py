"""Turn rows into batches: text and tables are read once, images on demand; examples in a batch have similar lengths."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import datasets
import torch
from torch import Tensor

from compressor.data.dataset import Dataset, Raw, parted
from compressor.data.labels import match
from compressor.errors import RecipeError
from compressor.inputs import Encode
from compressor.inputs.text import Tokens
from compressor.model.outputs import Logits
from compressor.tasks import Task

N_POOLED = 64  # batches that are sorted by length together: little padding, and still a shuffle


@dataclass(frozen=True)
class Split:
    """Examples ready to be batched."""

    encode: Encode
    """Function from indices to the inputs of the network."""
    lengths: list[int]
    """Tokens of each example; 1 for images and rows of a table."""
    labels: Tensor
    """Index of the right output for each example."""

    @property
    def tokens(self) -> Tokens | None:
        """The token ids, if the examples are texts."""
        return self.encode if isinstance(self.encode, Tokens) else None

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: Tensor | Sequence[int]) -> dict[str, Tensor]:
        """Return the inputs and labels of these examples, padded to the longest of them."""
        chosen = torch.as_tensor(indices)
        return {**self.encode(chosen), "labels": self.labels[chosen]}


@dataclass(frozen=True)
class Data:
    """The splits of a run: for training, for its choices, and for the report."""

    train: Split
    augmented: Split
    """The training split, with synthetic examples if the recipe asks for them; distillation trains on it."""
    held_out: Split
    report: Split
    report_name: str
    processor: Any
    """Tokenizer or image processor that encoded the examples; None for a table."""
    read_again: Callable[[Task], "Data"]

    def for_task(self, task: Task) -> "Data":
        """Return the same examples encoded by the processor of a task, which may be another tokenizer."""
        return self if task.processor is self.processor else self.read_again(task)


def prepare(raw: Raw, options: Dataset, task: Task, seed: int) -> Data:
    """Match the labels with the model's, hold a share of train out, and tokenize the text."""
    output_of = match(raw.classes, task.labels)
    train, held_out = parted(raw.train, options.held_out, seed)

    def split(rows: datasets.Dataset) -> Split:
        labels = torch.tensor([output_of[name] for name in raw.class_names(rows)])
        return Split(*task.inputs.encode(rows, raw.columns, task, options.max_length), labels)

    real = split(train)
    if options.mirror:
        if task.inputs.mirrored is None:
            raise RecipeError("data.mirror: works on images only; leave it out")
        both = task.inputs.mirrored(real.encode, len(real))
        real = Split(both, real.lengths * 2, real.labels.repeat(2))
    read_again = cache(lambda other: prepare(raw, options, other, seed))
    return Data(real, real, split(held_out), split(raw.report), raw.report_split, task.processor, read_again)


def batch_order(split: Split, batch_size: int, generator: torch.Generator | None) -> Iterator[Tensor]:
    """Yield the indices of each batch of one epoch: every example once, examples of similar length together.

    With a generator the batches are shuffled; without one, the longest come first.
    """
    lengths = torch.tensor(split.lengths)
    n_examples = len(lengths)
    order = torch.arange(n_examples) if generator is None else torch.randperm(n_examples, generator=generator)
    n_sorted = n_examples if generator is None else batch_size * N_POOLED
    batches = []
    for start in range(0, n_examples, n_sorted):
        pool = order[start : start + n_sorted]
        pool = pool[lengths[pool].argsort(descending=True, stable=True)]
        batches += [pool[at : at + batch_size] for at in range(0, len(pool), batch_size)]
    yield from batches if generator is None else [batches[i] for i in torch.randperm(len(batches), generator=generator)]


def some_batches(split: Split, rows: Tensor, batch_size: int) -> list[dict[str, Tensor]]:
    """Make batches of chosen rows, the longest first."""
    rows = rows[torch.tensor(split.lengths)[rows].argsort(descending=True, stable=True)]
    return [split.batch(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]


def metrics(task: Task, logits: Logits, split: Split, batch_size: int) -> dict[str, float]:
    """Compute every metric of the task from the logits for a split."""
    order = list(batch_order(split, batch_size, None))
    answers = torch.cat([logits(split.batch(indices)) for indices in order])
    return task.file.metrics(answers, split.labels[torch.cat(order)])
