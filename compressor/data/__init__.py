"""Rows of a dataset: read, matched with a model, and made into batches."""

from typing import TYPE_CHECKING

from compressor.plugins import lazily

if TYPE_CHECKING:
    from compressor.data.batches import prepare
    from compressor.data.dataset import Dataset, open_dataset

__all__ = ["Dataset", "open_dataset", "prepare"]
__getattr__ = lazily(__name__, dataset="Dataset open_dataset", batches="prepare")
