"""Kinds of input, one file each: texts, images, rows of tables. A task names the kind that it uses."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import datasets
from torch import Generator, Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from compressor.inputs.columns import Columns
from compressor.nets.tabular import Features

Encode = Callable[[Tensor], dict[str, Tensor]]
"""Function from indices of examples, shape (batch,), to the inputs of the network, padded to the longest of them."""


class Reader(Protocol):
    """The settings by which the inputs of one network are encoded; a `Task` has them."""

    @property
    def processor(self) -> Any:
        """Tokenizer or image processor; None for a table."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Inputs that the network takes, in order."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the numbers in a row of a table, in order."""

    @property
    def is_double(self) -> bool:
        """Whether the rows of a table are float64, as large numbers need; else float32."""


class Inputs(Protocol):
    """A file of this folder."""

    NAMES: tuple[str, ...]
    """Every input of this kind, in the order of exported files; the first is the network's main input."""
    COLUMNS: tuple[str, ...]
    """Keys under `data.columns` that are used."""
    FREE_AXES: dict[int, str]
    """Axes of an input that vary in size, with their names in exported files."""
    HAS_LENGTH: bool
    """Whether examples have a length of their own."""
    PROCESSOR: Literal["needed", "made", "none"]
    """Whether the processor of a new network must be given, is made from its config, or does not exist."""
    SKLEARN: tuple[str, ...]
    """Datasets of scikit-learn of this kind."""
    mirrored: Callable[[Encode, int], Encode] | None
    """Adds the mirror image of each of so many examples after all of them; None where there is no such thing."""

    def find_columns(self, rows: datasets.Dataset, named: Columns) -> tuple[str, ...]:
        """Return the columns to read: those that the recipe names, or the only ones that fit."""

    def check(self, rows: datasets.Dataset, columns: Sequence[str], split: str) -> None:
        """Refuse what would stop a run later: images that do not open, for example."""

    def is_column(self, feature: Any) -> bool:
        """Return whether a column can be read."""

    def read_processor(self, folder: str, **settings: Any) -> Any:
        """Load the processor of a folder, as transformers does; None if this kind has none."""

    def new_processor(self, config: PreTrainedConfig) -> Any:
        """Make the processor of a new network from its config."""

    def agree_(self, net: PreTrainedModel, processor: Any, place: str) -> None:
        """Make the config of a network and its processor agree, or refuse them."""

    def longest(self, net: PreTrainedModel) -> int | None:
        """Return the largest length that the network reads; None if nothing bounds it, or examples have no length."""

    def encode(
        self, rows: datasets.Dataset, columns: Sequence[str], reader: Reader, max_length: int
    ) -> tuple[Encode, list[int]]:
        """Encode rows: return the function that makes batches, and the length of each example."""

    def features(self, rows: datasets.Dataset, columns: Sequence[str]) -> Features | None:
        """Measure the columns for a new network; None if it needs nothing."""

    def sizes(self, config: PreTrainedConfig) -> dict[str, int]:
        """Return the sizes of a network that are not widths, such as its number of tokens."""

    def example(
        self, reader: Reader, config: PreTrainedConfig, batch_size: int, length: int, generator: Generator
    ) -> dict[str, Tensor]:
        """Make random valid inputs; the first text is full and the others end in padding, to exercise masks."""

    def plain(self, config: PreTrainedConfig, batch_size: int, length: int) -> dict[str, Tensor]:
        """Make valid inputs whose values do not matter, for a network of any head."""

    def from_sklearn(self, bunch: Any) -> tuple[dict[str, Any], datasets.Features]:
        """Make columns, and their features, from a dataset of scikit-learn."""
