"""Datasets become batches: columns and labels found, splits made, text tokenized once, images on demand."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import torch
from huggingface_hub import constants
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedConfig

from compressor.errors import InputError
from compressor.labels import Labels, from_values, has_real_names, match, rename
from compressor.model import Task
from compressor.options import Base

FILE_BUILDERS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
TEXT_PAIRS = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
)
N_POOLED = 64  # batches that are sorted by length together: little padding, and still a shuffle
CACHE_BYTES = 256 * 2**20  # of processed images per split
SPLIT_SEED = 0  # of splits that the dataset lacks: the same for every recipe seed, so that runs compare


class Columns(Base):
    """Names of the columns; found from the features when absent."""

    text: str | None = None
    """The sentence."""
    text_pair: str | None = None
    """Its second sentence."""
    image: str | None = None
    """The image."""
    label: str | None = None
    """The class."""


class Dataset(Base):
    """Recipe key `data`."""

    dataset: str
    """Hub id, folder, a .csv/.jsonl/.parquet file, or `sklearn:digits`."""
    config: str | None = None
    """The dataset's configuration, such as `mrpc` of nyu-mll/glue."""
    revision: str = "main"
    """Branch, tag or commit on the Hub."""
    columns: Columns = Columns()
    """Names of the columns; found from the features when absent."""
    labels: dict[str | int, str | int] | None = None
    """Dataset label to model label; by default by name where both have real names, else by index."""
    train_split: str = "train"
    """Split to train on."""
    report_split: str | None = None
    """Accuracy is reported on it, nothing is chosen on it: validation if labelled, else test, else a tenth of train."""
    held_out: float = Field(default=0.02, gt=0, lt=1)
    """Share of the training split on which every choice of the run is made."""
    max_length: int = Field(default=128, ge=2)
    """Longer texts are cut to this many tokens."""


@dataclass(frozen=True)
class Raw:
    """A dataset before a model's words are known: its splits, and what its columns and labels are."""

    train: datasets.Dataset
    report: datasets.Dataset
    columns: Columns
    classes: Labels
    renamed: Mapping[str, str]
    """From what the label column says to the name of the class."""
    report_split: str
    digest: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, for a new head."""
        return self.classes.names

    @property
    def has_real_names(self) -> bool:
        """Whether the labels are words."""
        return has_real_names(self.labels)


@dataclass(frozen=True)
class Split:
    """Examples ready to be batched."""

    encode: Callable[[Tensor], dict[str, Tensor]]
    lengths: list[int]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Inputs and labels of these examples, padded to the longest of them."""
        chosen = torch.as_tensor(indices)
        return {**self.encode(chosen), "labels": self.labels[chosen]}


@dataclass(frozen=True)
class Data:
    """What a run trains on, chooses on, and reports on."""

    train: Split
    held_out: Split
    report: Split
    report_name: str


def open_dataset(options: Dataset, task_name: str) -> Raw:
    """Load the training and the reported split, with columns found and labels read."""
    with _quiet():
        splits = _load(options)
        if options.train_split not in splits:
            raise _no_split("train_split", options.train_split, splits)
        columns = _find_columns(splits[options.train_split], options.columns, task_name)
        train, report, report_split = _choose_splits(splits, options, columns)
        labels = _read_labels((train, report), columns)
        renamed = {name: name for name in labels.names}
        if options.labels is not None:
            labels, renamed = rename(labels, {str(name): str(target) for name, target in options.labels.items()})
        return Raw(
            train, report, columns, labels, renamed, report_split, _digest((train, report), columns, labels, options)
        )


def prepare(raw: Raw, options: Dataset, task: Task, seed: int) -> Data:
    """Match the labels with the model's, hold a share of train out, tokenize the text."""
    index_of = match(raw.classes, task.labels)
    order = torch.randperm(len(raw.train), generator=torch.Generator().manual_seed(seed)).tolist()
    n_held_out = max(1, round(options.held_out * len(order)))

    def split(rows: datasets.Dataset) -> Split:
        names = _label_names(rows, raw.columns)
        labels = torch.tensor([index_of[raw.renamed[name]] for name in names if name is not None])
        if task.name == "text-classification":
            tokens = _Tokens(rows, raw.columns, options.max_length, task)
            return Split(tokens, tokens.lengths.tolist(), labels)
        return Split(_Pixels(rows, raw.columns, task), [1] * len(rows), labels)

    with _quiet():
        train, held_out = raw.train.select(order[n_held_out:]), raw.train.select(order[:n_held_out])
        return Data(split(train), split(held_out), split(raw.report), raw.report_split)


def batches(split: Split, batch_size: int, generator: torch.Generator | None) -> Iterator[dict[str, Tensor]]:
    """Every example once: shuffled batches of like lengths, or without a generator all sorted by length."""
    lengths = torch.tensor(split.lengths)
    if generator is None:
        pools: Sequence[Tensor] = [torch.arange(len(lengths))]
    else:
        pools = torch.randperm(len(lengths), generator=generator).split(batch_size * N_POOLED)
    cut = [
        part for pool in pools for part in pool[lengths[pool].argsort(descending=True, stable=True)].split(batch_size)
    ]
    order = range(len(cut)) if generator is None else torch.randperm(len(cut), generator=generator).tolist()
    for index in order:
        yield split.batch(cut[index])


def accuracy(logits: Callable[[Mapping[str, Tensor]], Tensor], split: Split, batch_size: int) -> float:
    """Fraction of a split that the logits get right."""
    right = sum(int((logits(batch).argmax(-1) == batch["labels"]).sum()) for batch in batches(split, batch_size, None))
    return right / len(split)


def example_inputs(
    task: Task, net_config: PreTrainedConfig, batch_size: int, length: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Random valid inputs; the first text is full, the others end in padding, so that masks are exercised."""
    if task.name == "image-classification":
        shape = (batch_size, net_config.num_channels, net_config.image_size, net_config.image_size)
        return {"pixel_values": torch.randn(shape, generator=generator)}
    n_tokens = torch.randint(1, length + 1, (batch_size, 1), generator=generator)
    n_tokens[0] = length
    mask = (torch.arange(length) < n_tokens).long()
    inputs = {
        "input_ids": torch.randint(net_config.vocab_size, (batch_size, length), generator=generator) * mask,
        "attention_mask": mask,
        "token_type_ids": torch.zeros_like(mask),
    }
    return {name: inputs[name] for name in task.input_names}


class _Tokens:
    """Token ids of a split in one flat tensor, cut into padded batches without a loop."""

    def __init__(self, rows: datasets.Dataset, columns: Columns, max_length: int, task: Task) -> None:
        pair = None if columns.text_pair is None else rows[columns.text_pair][:]
        encoded = task.processor(rows[columns.text][:], pair, truncation=True, max_length=max_length)
        self.lengths = torch.tensor([len(ids) for ids in encoded["input_ids"]])
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.flat = {name: torch.tensor([i for ids in encoded[name] for i in ids]) for name in task.input_names}
        self.padding = {"input_ids": task.processor.pad_token_id, "token_type_ids": task.processor.pad_token_type_id}

    def __call__(self, indices: Tensor) -> dict[str, Tensor]:
        lengths = self.lengths[indices, None]
        place = torch.arange(int(lengths.max()))
        is_token = place < lengths
        source = self.starts[indices, None] + place.minimum(lengths - 1)
        return {
            name: torch.where(is_token, flat[source], self.padding.get(name, 0)) for name, flat in self.flat.items()
        }


class _Pixels:
    """Images of a split, processed when a batch asks for them and kept while they are small."""

    def __init__(self, rows: datasets.Dataset, columns: Columns, task: Task) -> None:
        self.images, self.processor = rows[columns.image], task.processor
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


def _load(options: Dataset) -> datasets.DatasetDict:
    """Read all splits from wherever the name points."""
    name, local = options.dataset, Path(options.dataset).expanduser()
    if name == "sklearn:digits":
        return _digits()
    try:
        if local.is_file() and local.suffix in FILE_BUILDERS:
            return datasets.load_dataset(FILE_BUILDERS[local.suffix], data_files=str(local))
        if local.is_dir():
            return datasets.load_dataset(str(local), options.config)
        if local.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise InputError(
                f"data.dataset: no such folder or file, got {name!r}; give a folder, a {'/'.join(FILE_BUILDERS)} file or a hub id"
            )
        return datasets.load_dataset(name, options.config, revision=options.revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise InputError(f"data.dataset: {name!r} cannot be read ({error})") from error


def _digits() -> datasets.DatasetDict:
    """Give scikit-learn's 8x8 digits, a fifth of them, spread evenly over the classes, as validation."""
    from PIL import Image
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    images = [Image.fromarray((image * 255 / 16).round().astype("uint8").reshape(8, 8)) for image in pixels]
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))
    parts = train_test_split(range(len(labels)), test_size=0.2, stratify=labels, random_state=SPLIT_SEED)
    return datasets.DatasetDict(
        {
            name: datasets.Dataset.from_dict({"image": [images[i] for i in part], "label": labels[part]}, features)
            for name, part in zip(("train", "validation"), parts, strict=True)
        }
    )


def _find_columns(rows: datasets.Dataset, named: Columns, task_name: str) -> Columns:
    """Fill in the columns that the recipe does not name; refuse where that would be a guess."""
    for key, name in named:
        if name is not None and name not in rows.features:
            raise InputError(f"data.columns.{key}: no such column, got {name!r}; choose from {_some(rows.features)}")
    label = named.label or _only(
        "label", rows, [name for name in ("label", "labels") if name in rows.features], datasets.ClassLabel
    )
    if task_name == "image-classification":
        return Columns(image=named.image or _only("image", rows, [], datasets.Image), label=label)
    if named.text is not None:
        return Columns(text=named.text, text_pair=named.text_pair, label=label)
    pair = next((pair for pair in TEXT_PAIRS if set(pair) <= set(rows.features)), None)
    if pair is not None:
        return Columns(text=pair[0], text_pair=pair[1], label=label)
    words = [name for name in ("text", "sentence") if name in rows.features]
    return Columns(
        text=_only("text", rows.remove_columns(label), words, "string"), text_pair=named.text_pair, label=label
    )


def _only(key: str, rows: datasets.Dataset, usual: Sequence[str], kind: type | str) -> str:
    """Column of a usual name, or the only one of that kind."""
    found = usual[:1] or [name for name, feature in rows.features.items() if _is(feature, kind)]
    if len(found) == 1:
        return found[0]
    raise InputError(f"data.columns.{key}: cannot tell which column it is; name one of {_some(rows.features)}")


def _is(feature: Any, kind: type | str) -> bool:
    return getattr(feature, "dtype", None) == kind if isinstance(kind, str) else isinstance(feature, kind)


def _choose_splits(
    splits: datasets.DatasetDict, options: Dataset, columns: Columns
) -> tuple[datasets.Dataset, datasets.Dataset, str]:
    """Labelled rows of the training split and of the reported one, and the latter's name."""
    train = _labelled(splits[options.train_split], columns)
    if not len(train):
        raise InputError(f"data.dataset: split {options.train_split!r} of {options.dataset!r} has no labels")
    for name in [options.report_split] if options.report_split else ["validation", "test"]:
        if name in splits and name != options.train_split and len(report := _labelled(splits[name], columns)):
            return train, report, name
    if options.report_split:
        raise _no_split("report_split", options.report_split, splits)
    parts = train.train_test_split(test_size=0.1, seed=SPLIT_SEED)
    return parts["train"], parts["test"], f"a tenth of {options.train_split}"


def _labelled(rows: datasets.Dataset, columns: Columns) -> datasets.Dataset:
    if columns.label not in rows.features:
        return rows.select([])
    names = _label_names(rows, columns)
    return rows if None not in names else rows.select([i for i, name in enumerate(names) if name is not None])


def _label_names(rows: datasets.Dataset, columns: Columns) -> list[str | None]:
    """What the label column says, in words; None where it says nothing (-1 on the Hub)."""
    feature, values = rows.features[columns.label], rows[columns.label][:]
    if isinstance(feature, datasets.ClassLabel):
        return [None if value is None or value < 0 else feature.names[value] for value in values]
    return [None if value is None or value == -1 else str(value) for value in values]


def _read_labels(splits: Sequence[datasets.Dataset], columns: Columns) -> Labels:
    feature = splits[0].features[columns.label]
    if isinstance(feature, datasets.ClassLabel):
        return Labels(tuple(feature.names), is_ordered=True)
    return from_values({name for rows in splits for name in _label_names(rows, columns) if name is not None})


def _no_split(key: str, name: str, splits: datasets.DatasetDict) -> InputError:
    return InputError(f"data.{key}: no labelled split of that name, got {name!r}; choose from {_some(splits)}")


def _digest(splits: Sequence[datasets.Dataset], columns: Columns, labels: Labels, options: Dataset) -> str:
    """Hash of the content and of what is made of it: no path or date enters it."""
    said = options.model_dump(exclude={"dataset", "config", "revision"})
    content = hashlib.sha256(repr((labels, said)).encode())
    for rows in splits:
        for _, name in columns:
            if name is not None:
                raw = rows.cast_column(name, datasets.Image(decode=False)) if name == columns.image else rows
                for value in raw[name]:
                    content.update(_bytes(value))
    return content.hexdigest()


def _bytes(value: Any) -> bytes:
    if isinstance(value, dict):  # an image that is not decoded
        return value["bytes"] or Path(value["path"]).read_bytes()
    return repr(value).encode()


def _some(names: Any) -> str:
    return ", ".join(map(repr, names))


@contextmanager
def _quiet() -> Iterator[None]:
    verbosity, has_bars = datasets.logging.get_verbosity(), not datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if has_bars:
            datasets.enable_progress_bars()
