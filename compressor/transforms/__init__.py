"""Products of few sparse factors that approximate a matrix, as fast transforms do: found, or computed for a pattern.

Estimators with scikit-learn's interface, which are imported at first use, take them for K-means and kernel machines.
"""

from typing import TYPE_CHECKING

from compressor.plugins import lazily
from compressor.transforms.butterfly import butterfly
from compressor.transforms.hierarchical import hierarchical
from compressor.transforms.palm4msa import palm4msa
from compressor.transforms.product import SparseProduct
from compressor.transforms.recover import recover

if TYPE_CHECKING:
    from compressor.transforms.fastfood import Fastfood
    from compressor.transforms.nystroem import FastNystroem
    from compressor.transforms.quick_kmeans import QuicKMeans

__all__ = [
    "FastNystroem",
    "Fastfood",
    "QuicKMeans",
    "SparseProduct",
    "butterfly",
    "hierarchical",
    "palm4msa",
    "recover",
]
__getattr__ = lazily(__name__, fastfood="Fastfood", nystroem="FastNystroem", quick_kmeans="QuicKMeans")
