"""Products of few sparse factors that approximate a matrix, as fast transforms do: found, or computed for a pattern."""

from compressor.transforms.butterfly import butterfly
from compressor.transforms.hierarchical import hierarchical
from compressor.transforms.palm4msa import palm4msa
from compressor.transforms.product import SparseProduct
from compressor.transforms.recover import recover

__all__ = ["SparseProduct", "butterfly", "hierarchical", "palm4msa", "recover"]
