"""Sparse products: a matrix as a product of few sparse factors."""

from compressor.transforms.product import SparseProduct

__all__ = ["SparseProduct"]
