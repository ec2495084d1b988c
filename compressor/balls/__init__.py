"""Norm balls: one file each, with its norm, its dual norm and the map into it."""

from compressor.numerics.groups import Coupled

__all__ = ["Coupled"]
