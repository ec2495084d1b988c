"""Sparse products: a matrix as a product of few sparse factors."""

from compressor.transforms.hierarchical import hierarchical
from compressor.transforms.palm4msa import palm4msa
from compressor.transforms.product import SparseProduct

__all__ = ["SparseProduct", "hierarchical", "palm4msa"]
