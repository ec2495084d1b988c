"""Rows become batches: text tokenized once, images processed on demand, tables read once, batches of like lengths."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import datasets
import torch
from torch import Tensor
from transformers import PreTrainedConfig

from compressor.data import table
from compressor.data.dataset import Dataset, Raw, parted
from compressor.data.labels import match
from compressor.errors import InputError, RecipeError
from compressor.model.artifact import Task
from compressor.model.outputs import Logits
from compressor.model.pretrained import image_shape

NO_LABEL = -100  # of a synthetic example
N_POOLED = 64  # batches that are sorted by length together: little padding, and still a shuffle
CACHE_BYTES = 2**30  # of processed images per split: CIFAR-10 takes 0.6 GB, and reading it again half a training step


@dataclass(frozen=True)
class Split:
    """Examples ready to be batched."""

    encode: Callable[[Tensor], dict[str, Tensor]]
    """From indices to the inputs of the network."""
    lengths: list[int]
    """Tokens of each example; 1 for images and rows of a table."""
    labels: Tensor
    """Index of the right output for each example."""

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: Tensor | Sequence[int]) -> dict[str, Tensor]:
        """Give the inputs and labels of these examples, padded to the longest of them."""
        chosen = torch.as_tensor(indices)
        return {**self.encode(chosen), "labels": self.labels[chosen]}


@dataclass(frozen=True)
class Data:
    """What a run trains on, chooses on, and reports on."""

    train: Split
    augmented: Split
    """The training split with synthetic examples, where the recipe asks for them: what a distillation trains on."""
    held_out: Split
    report: Split
    report_name: str
    processor: Any
    """Tokenizer or image processor that read it; None for a table."""
    read_again: Callable[[Task], "Data"]

    def for_task(self, task: Task) -> "Data":
        """Give the same examples as the processor of a task reads them, which may be another tokenizer."""
        return self if task.processor is self.processor else self.read_again(task)


def prepare(raw: Raw, options: Dataset, task: Task, seed: int) -> Data:
    """Match the labels with the model's, hold a share of train out, and tokenize the text."""
    output_of = match(raw.classes, task.labels)
    train, held_out = parted(raw.train, options.held_out, seed)

    def split(rows: datasets.Dataset) -> Split:
        labels = torch.tensor([output_of[name] for name in raw.class_names(rows)])
        if task.name == "image-classification":
            return Split(_Pixels(rows, raw.columns[0], task), [1] * len(rows), labels)
        if task.name == "tabular-classification":
            return Split(table.encoder(rows, raw.columns, task.features), [1] * len(rows), labels)
        tokens = _tokenized(rows, raw.columns, options.max_length, task)
        return Split(tokens, tokens.lengths.tolist(), labels)

    real = _with_mirror_images(split(train), task) if options.mirror else split(train)
    read_again = cache(lambda other: prepare(raw, options, other, seed))
    return Data(real, real, split(held_out), split(raw.report), raw.report_split, task.processor, read_again)


def batch_order(split: Split, batch_size: int, generator: torch.Generator | None) -> Iterator[Tensor]:
    """Give the indices of each batch of one epoch: every example once, examples of like lengths together.

    With a generator the batches are shuffled, without one they come longest first.
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


def accuracy(logits: Logits, split: Split, batch_size: int) -> float:
    """Fraction of a split that the logits get right."""
    n_right = 0
    for indices in batch_order(split, batch_size, None):
        batch = split.batch(indices)
        n_right += int((logits(batch).argmax(dim=-1) == batch["labels"]).sum())
    return n_right / len(split)


def example_inputs(
    task: Task, net_config: PreTrainedConfig, batch_size: int, length: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Make random valid inputs; the first text is full, the others end in padding, so that masks are exercised."""
    if task.name == "image-classification":
        return {"pixel_values": torch.randn(batch_size, *image_shape(net_config), generator=generator)}
    if task.name == "tabular-classification":
        means, stds = torch.tensor(net_config.feature_means), torch.tensor(net_config.feature_stds)
        return {"features": means + stds * torch.randn(batch_size, len(means), generator=generator)}
    n_tokens = torch.randint(1, length + 1, (batch_size, 1), generator=generator)
    n_tokens[0] = length
    mask = torch.arange(length) < n_tokens
    random_ids = torch.randint(net_config.vocab_size, (batch_size, length), generator=generator)
    padding = torch.tensor(task.processor.pad_token_id)
    if net_config.is_encoder_decoder:  # their classifiers read the state at the one end of a text
        end = net_config.eos_token_id
        random_ids = random_ids.where(random_ids != end, padding).scatter(1, n_tokens - 1, end)
    inputs = {
        "input_ids": torch.where(mask, random_ids, padding),
        "attention_mask": mask.long(),
        "token_type_ids": torch.zeros_like(random_ids),
    }
    return {name: inputs[name] for name in task.input_names}


@dataclass(frozen=True)
class Tokens:
    """Token ids of a split, end to end in one tensor for each input; a batch is cut out of them without a loop."""

    flat: dict[str, Tensor]
    lengths: Tensor
    names: tuple[str, ...]
    """Inputs of the network, in order."""
    padding: dict[str, int]
    max_length: int

    @cached_property
    def starts(self) -> Tensor:
        """Where each example begins."""
        return self.lengths.cumsum(0) - self.lengths

    def __call__(self, indices: Tensor) -> dict[str, Tensor]:
        """Cut these examples out, padded to the longest of them."""
        lengths = self.lengths[indices, None]
        position = torch.arange(int(lengths.max()))
        source = self.starts[indices, None] + position.minimum(lengths - 1)
        is_token = position < lengths
        inputs = {name: flat[source].where(is_token, self.padding[name]) for name, flat in self.flat.items()}
        inputs["attention_mask"] = is_token.long()
        return {name: inputs[name] for name in self.names}


def _tokenized(rows: datasets.Dataset, columns: Sequence[str], max_length: int, task: Task) -> Tokens:
    tokenizer = task.processor
    texts = [rows[name][:] for name in columns]
    for name, column in zip(columns, texts, strict=True):
        if None in column:
            raise InputError(f"data: column {name!r} is empty in {column.count(None)} rows; fill or remove them")
    n_readable = min(max_length, tokenizer.model_max_length)
    encoded = tokenizer(*texts, truncation=True, max_length=n_readable, return_attention_mask=False)
    flat = {
        name: torch.tensor([value for values in encoded[name] for value in values])
        for name in task.input_names
        if name != "attention_mask"
    }
    padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    lengths = torch.tensor([len(ids) for ids in encoded["input_ids"]])
    return Tokens(flat, lengths, task.input_names, padding, n_readable)


def _with_mirror_images(split: Split, task: Task) -> Split:
    """Add the mirror image of each image, under the same label."""
    if task.name != "image-classification":
        raise RecipeError("data.mirror: works on images alone; leave it out")

    def encode(indices: Tensor) -> dict[str, Tensor]:
        pixels = split.encode(indices % len(split))["pixel_values"]
        is_mirrored = indices[:, None, None, None] >= len(split)
        return {"pixel_values": pixels.flip(-1).where(is_mirrored, pixels)}

    return Split(encode, split.lengths * 2, split.labels.repeat(2))


class _Pixels:
    """Images of a split, processed when a batch asks for them, and kept while all fit in the cache."""

    def __init__(self, rows: datasets.Dataset, column: str, task: Task) -> None:
        self.images, self.processor = rows[column], task.processor
        self.mode = {1: "L", 3: "RGB"}[len(task.processor.image_mean)]
        self.kept: dict[int, Tensor] = {}

    def __call__(self, indices: Tensor) -> dict[str, Tensor]:
        wanted = indices.tolist()
        found = {index: self.kept[index] for index in wanted if index in self.kept}
        if missing := [index for index in wanted if index not in found]:
            images = [self.images[index].convert(self.mode) for index in missing]
            found |= zip(missing, self.processor(images, return_tensors="pt")["pixel_values"], strict=True)
        pixels = torch.stack([found[index] for index in wanted])
        if len(self.kept) * pixels[0].nbytes < CACHE_BYTES:
            self.kept |= found
        return {"pixel_values": pixels}
