"""Read the dataset that a recipe names, and find its columns, labels and splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import torch
from pydantic import Field, model_validator

from compressor.data import reading
from compressor.data.columns import find_columns, label_words
from compressor.data.content import Content, read_content
from compressor.data.labels import Labels, from_values, rename
from compressor.data.options import Augment
from compressor.errors import InputError, listed, unusable
from compressor.inputs.columns import Columns, is_class
from compressor.model import hub
from compressor.model.quiet import datasets_quiet
from compressor.nets.tabular import Features
from compressor.options import Base, Share
from compressor.tasks import task_file

BUILDERS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
CARD = ("README.md",)  # a small file, to test whether the Hub, or its local cache, has the dataset
SPLIT_SEED = 0  # of splits that we make: the same for every seed of a recipe, so that runs can be compared
REPORTED_SHARE = 0.1  # of train, if no other split is labelled
SKLEARN = "sklearn:"


class Dataset(Base):
    """Recipe key `data`: the dataset and its splits."""

    dataset: str
    """Hub id, folder, .csv, .jsonl or .parquet file, or a dataset of scikit-learn: `sklearn:digits` as images, or
    `sklearn:digits`, `sklearn:breast_cancer`, `sklearn:iris`, `sklearn:wine` as tables."""
    config: str | None = None
    """The dataset's configuration, such as `mrpc` of nyu-mll/glue."""
    revision: str = "main"
    """Branch, tag or commit on the Hub."""
    columns: Columns = Columns()
    """Names of the columns; by default they are found by type and usual name."""
    labels: dict[int | str, int | str] | None = None
    """Map from dataset labels to model labels; by default by name if both have real names, else by index."""
    train_split: str = "train"
    """Split to train on."""
    report_split: str | None = None
    """Split for the reported accuracy; no choice is made on it. Validation if labelled, else test, else 10 % of
    train."""
    held_out: Share = Field(default=0.02, gt=0, lt=1)
    """Share of the training split that is set aside; every choice of the run is made on it."""
    max_length: int = Field(default=128, ge=2, le=1 << 20)
    """Longer texts are cut to this many tokens, or to the maximum of the model."""
    mirror: bool = False
    """Also train on the mirror image of each image; only if left and right do not matter."""

    augment: Augment | None = None
    """Synthetic sentences for distillation; none by default."""

    @model_validator(mode="after")
    def _unseen_report(self) -> "Dataset":
        if self.report_split == self.train_split:
            raise ValueError("'report_split' is the training split; choose another split, or leave it out")
        return self


@dataclass(frozen=True)
class Raw:
    """The labelled rows of a dataset, independent of any model."""

    train: datasets.Dataset
    report: datasets.Dataset
    report_split: str
    columns: tuple[str, ...]
    """Columns of the text, of the text and its pair, of the image, or of the features."""
    label: str
    """Column of the label."""
    classes: Labels
    renamed: Mapping[str, str]
    """From what the label column says to the name of the class."""
    content: Content
    """Hashes of what is read; what the recipe says of it is no part."""
    left_out: Mapping[str, str]
    """Columns that are not read, with their types."""
    n_unlabelled: tuple[int, int]
    """Rows without a label in the training split and in the reported one; they are left out."""
    features: Features | None = None
    """For a table: the names of its features and their scale, for a new network."""

    @property
    def digest(self) -> str:
        """Of the content, as hexadecimal digits."""
        return self.content.digest

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, for a new head."""
        return self.classes.names

    def class_names(self, rows: datasets.Dataset) -> list[str]:
        """Class of each row."""
        return [self.renamed[name] for name in label_words(rows, self.label) if name is not None]


def open_dataset(options: Dataset, task_name: str) -> Raw:
    """Read the training split and the reported split, and find their columns and labels."""
    with datasets_quiet():
        splits = _read(options, task_name)
        if options.train_split not in splits:
            raise InputError(
                f"data.train_split: no such split, got {options.train_split!r}; choose from {listed(splits)}"
            )
        columns, label = find_columns(splits[options.train_split], options.columns, task_name)
        inputs = task_file(task_name).INPUTS
        train, report, report_split = _choose_splits(splits, options, label)
        n_unlabelled = []
        for name in (options.train_split, report_split):
            rows = splits.get(name, report.select([]))  # a share of train is not there under its name
            inputs.check(rows, columns, name)
            n_unlabelled.append(label_words(rows, label).count(None))
        classes = _classes((train, report), label)
        renamed = {name: name for name in classes.names}
        if options.labels is not None:
            classes, renamed = rename(classes, {str(name): str(target) for name, target in options.labels.items()})
        features, read = splits[options.train_split].features, {*columns, label}
        return Raw(
            train=train,
            report=report,
            report_split=report_split,
            columns=columns,
            label=label,
            classes=classes,
            renamed=renamed,
            content=read_content((train, report), columns, label),
            left_out={name: _kind(feature) for name, feature in features.items() if name not in read},
            n_unlabelled=(n_unlabelled[0], n_unlabelled[1]),
            features=inputs.features(train, columns),
        )


def parted(rows: datasets.Dataset, share: float, seed: int) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Take out a random share of the rows, at least one; return the remaining rows and those taken."""
    n_taken = max(1, round(share * len(rows)))
    if n_taken >= len(rows):
        raise InputError(f"data: {len(rows)} labelled rows are too few to set some aside for choices and the report")
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    return rows.select(order[n_taken:]), rows.select(order[:n_taken])


def _read(options: Dataset, task_name: str) -> Mapping[str, datasets.Dataset]:
    """Read all splits from wherever the name points to."""
    name = options.dataset
    if name.startswith(SKLEARN):
        return _toy(name.removeprefix(SKLEARN), task_name)
    local = Path(name).expanduser()
    if local.is_file() and local.suffix not in BUILDERS:
        raise InputError(
            f"data.dataset: cannot read a {local.suffix or 'bare'} file, got {name!r}; give {listed(BUILDERS)}"
        )
    if not local.exists():
        hub.folder("data.dataset", name, options.revision, "dataset", CARD)
    _require_files(local)
    with unusable(f"data.dataset: cannot be read, got {name!r}"):
        if local.is_file():
            found = reading.load(BUILDERS[local.suffix], data_files=str(local))
        elif local.is_dir():
            found = reading.load(str(local.resolve()), options.config)
        else:
            found = reading.load(name, options.config, revision=options.revision)
    return found


def _require_files(local: Path) -> None:
    """Refuse devices and pipes, which would be read for ever."""
    inside = local.rglob("*") if local.is_dir() else ()
    for file in (local, *inside):
        if file.exists() and not (file.is_file() or file.is_dir()):
            raise InputError(f"data.dataset: {file}: no regular file; give a folder or a file of rows")


def _toy(name: str, task_name: str) -> Mapping[str, datasets.Dataset]:
    """Make a dataset from one of scikit-learn's, as a table or, for the 8x8 digits, as images.

    A fifth of each class is the validation split.
    """
    import sklearn.datasets
    from sklearn.model_selection import train_test_split

    inputs = task_file(task_name).INPUTS
    known = inputs.SKLEARN
    if name not in known:
        what = f"scikit-learn has no such dataset for {task_name}"
        raise InputError(
            f"data.dataset: {what}, got {SKLEARN + name!r}; choose from {listed(SKLEARN + x for x in known)}"
        )
    toy = getattr(sklearn.datasets, f"load_{name}")()
    columns, features = inputs.from_sklearn(toy)
    classes = datasets.ClassLabel(names=[str(name) for name in toy.target_names])
    rows = datasets.Dataset.from_dict(
        {"label": toy.target, **columns}, datasets.Features({"label": classes, **features})
    )
    parts = train_test_split(range(len(rows)), test_size=0.2, stratify=toy.target, random_state=SPLIT_SEED)
    return {name: rows.select(part) for name, part in zip(("train", "validation"), parts, strict=True)}


def _choose_splits(
    splits: Mapping[str, datasets.Dataset], options: Dataset, label: str
) -> tuple[datasets.Dataset, datasets.Dataset, str]:
    """Return the labelled rows of the training split and of the reported split, and the latter's name."""
    train = _labelled(splits[options.train_split], label)
    if not len(train):
        raise InputError(f"data.train_split: no row of {options.train_split!r} has a label")
    for name in (options.report_split,) if options.report_split else ("validation", "test"):
        if name in splits and name != options.train_split and len(report := _labelled(splits[name], label)):
            return train, report, name
    if options.report_split:
        held = f"choose a labelled one from {listed(splits)}"
        raise InputError(f"data.report_split: missing or without labels, got {options.report_split!r}; {held}")
    return *parted(train, REPORTED_SHARE, SPLIT_SEED), f"{REPORTED_SHARE:.0%} of {options.train_split}"


def _labelled(rows: datasets.Dataset, label: str) -> datasets.Dataset:
    if label not in rows.features:
        return rows.select([])
    names = label_words(rows, label)
    if set(names) <= {None, "-1"}:  # how splits without labels are published; elsewhere -1 is a class
        return rows.select([])
    return rows if None not in names else rows.select([i for i, name in enumerate(names) if name is not None])


def _classes(splits: Sequence[datasets.Dataset], label: str) -> Labels:
    feature = splits[0].features[label]
    if is_class(feature):
        return Labels(tuple(feature.names), is_ordered=True)
    return from_values({name for rows in splits for name in label_words(rows, label) if name is not None})


def _kind(feature: object) -> str:
    """Name the type of a column."""
    return str(getattr(feature, "dtype", None) or type(feature).__name__)
