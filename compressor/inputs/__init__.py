"""What networks read, a file for each kind: texts, images, rows of tables. A task names the file it reads with."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import datasets
from torch import Generator, Tensor
from transformers import PreTrainedConfig

from compressor.inputs.columns import Columns
from compressor.nets.tabular import Features

Encode = Callable[[Tensor], dict[str, Tensor]]
"""From the indices of examples, shape (batch,), to the inputs of the network, padded to the longest of them."""


class Reader(Protocol):
    """What belongs to one network and its inputs: a `Task` is one."""

    @property
    def processor(self) -> Any:
        """Tokenizer or image processor; None for a table."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Inputs that the network takes, in order."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the numbers in a row of a table, in order."""


class Inputs(Protocol):
    """A file of this folder."""

    NAMES: tuple[str, ...]
    """Every input of this kind, in the order of exported files; the first is the network's main input."""
    COLUMNS: tuple[str, ...]
    """Keys under `data.columns` that are read."""
    FREE_AXES: dict[int, str]
    """Axes of an input that vary in size, with their names in exported files."""
    HAS_LENGTH: bool
    """Whether examples have a length of their own."""
    PROCESSOR: Literal["needed", "made", "none"]
    """Whether a new network needs a processor to be named, gets one that is made for it, or has none."""
    SKLEARN: tuple[str, ...]
    """Datasets of scikit-learn that are this kind."""

    def find_columns(self, rows: datasets.Dataset, named: Columns) -> tuple[str, ...]:
        """Give the columns to read: those the recipe names, else what the features leave no doubt about."""

    def is_column(self, feature: Any) -> bool:
        """Tell whether a column can be read."""

    def read_processor(self, folder: str, **settings: Any) -> Any:
        """Load the processor of a folder, as transformers does; None where there is none to load."""

    def new_processor(self, config: PreTrainedConfig) -> Any:
        """Make the processor of a new network from its config."""

    def agree_(self, config: PreTrainedConfig, processor: Any, place: str) -> None:
        """Bring the config of a network and its processor into agreement, or refuse them."""

    def encode(
        self, rows: datasets.Dataset, columns: Sequence[str], reader: Reader, max_length: int
    ) -> tuple[Encode, list[int]]:
        """Make rows readable: the function that gives batches, and the length of each example."""

    def mirrored(self, encode: Encode, n_examples: int) -> Encode:
        """Add the mirror image of each example behind the others, or refuse to."""

    def features(self, rows: datasets.Dataset, columns: Sequence[str]) -> Features | None:
        """Measure what a new network must know of the columns; None where that is nothing."""

    def sizes(self, config: PreTrainedConfig) -> dict[str, int]:
        """Give the sizes of a network that are no widths, such as its number of tokens."""

    def example(
        self, reader: Reader, config: PreTrainedConfig, batch_size: int, length: int, generator: Generator
    ) -> dict[str, Tensor]:
        """Make random valid inputs; of texts the first is full and the others end in padding, to exercise masks."""

    def plain(self, config: PreTrainedConfig, batch_size: int, length: int) -> dict[str, Tensor]:
        """Make valid inputs whose values do not matter, for a network of any head."""

    def from_sklearn(self, bunch: Any) -> tuple[dict[str, Any], datasets.Features]:
        """Make columns, and their features, of a dataset of scikit-learn."""
