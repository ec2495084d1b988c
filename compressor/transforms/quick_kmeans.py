"""QuicK-means: K-means whose centroids are the rows of a product of sparse factors."""

from typing import Any, Self

import numpy as np
import scipy.sparse
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.cluster import kmeans_plusplus
from sklearn.metrics import pairwise_distances_argmin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from compressor.constraints import Constraint
from compressor.transforms.hierarchical import hierarchical
from compressor.transforms.palm4msa import palm4msa
from compressor.transforms.product import SparseProduct
from compressor.transforms.rows import Array, SparseRows

SHARE = 0.1  # of the numbers of dense centroids, by default
PER_ROW = 2  # entries that a square factor gets for each of its rows, at least
SQUARE = 0.5  # of an equal share of the entries: a quarter of two factors' (on CIFAR-10 0.2 and 0.3 beat 0.05 and 0.1)
START_SWEEPS = 30  # of each run of PALM4MSA for the first product
N_SWEEPS = 5  # of PALM4MSA for each product after it, which starts from the one before


class QuicKMeans(ClusterMixin, TransformerMixin, ClassNamePrefixFeaturesOutMixin, BaseEstimator):  # type: ignore[misc]
    """Cluster samples around centroids that form a product of sparse factors.

    As in K-means, samples are assigned to the nearest centroid in turn with an update of the centroids. The update
    lowers the sum of squared distances by PALM4MSA over all factors, and starts from those of the turn before; so the
    sum never rises.

    Parameters
    ----------
    n_clusters : int, >= 1
        Number of centroids.
    n_nonzeros : int, optional
        Number of nonzero entries of all factors; by default a tenth of the entries of the centroids, or twice the
        number of their rows and columns if that is more.
    n_factors : int, >= 2
        Number of factors.
    max_iter : int, >= 1
        Largest number of turns.
    tol : float, >= 0
        Stop when a turn lowers the sum by no more than this part of it.
    random_state : int, RandomState or None
        Of the first centroids, which k-means++ chooses among the samples.

    Attributes
    ----------
    cluster_centers_ : array, shape (n_clusters, n_features)
        The centroids, multiplied out.
    product_ : SparseRows
        Their factors, ``product_.factors``, and ``product_.n_nonzeros``.
    labels_ : array of int, shape (n_samples,)
        Index of the nearest centroid of each sample.
    inertia_ : float
        Sum of squared distances to it.
    inertias_ : list of float
        That sum after each assignment, the last included; it never rises, but for rounding.
    n_iter_ : int
        Number of updates of the centroids.
    n_features_in_ : int
        Number of features.

    Notes
    -----
    A local optimum. An update takes a few products of matrices as large as the centroids; an assignment
    O(n_samples n_nonzeros), but sparse products run at a fraction of the speed of dense ones: below about 500 centroids
    of 1,000 features the dense ``cluster_centers_`` are as fast.

    References
    ----------
    .. [1] L. Giffon, V. Emiya, H. Kadri, L. Ralaivola, "QuicK-means: accelerating inference for K-means by learning
       fast transforms", Machine Learning 110, 2021, arXiv:1908.08713.

    Examples
    --------
    >>> samples = np.array([[1.0, 2.0], [1.0, 4.0], [1.0, 0.0], [10.0, 2.0], [10.0, 4.0], [10.0, 0.0]])
    >>> found = QuicKMeans(2, random_state=0).fit(samples)
    >>> found.labels_[:3] == found.labels_[3:]
    array([False, False, False])
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_nonzeros: int | None = None,
        n_factors: int = 2,
        max_iter: int = 100,
        tol: float = 1e-4,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_nonzeros = n_nonzeros
        self.n_factors = n_factors
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Find the centroids.

        Parameters
        ----------
        X : array, shape (n_samples, n_features)
            Samples; finite.
        y : ignored

        Raises
        ------
        ValueError
            If there are fewer samples than clusters, or a number is out of range.
        """
        samples = validate_data(self, X, dtype=[np.float64, np.float32], order="C")
        self._check(len(samples))
        random = check_random_state(self.random_state)
        centers, _ = kmeans_plusplus(samples, self.n_clusters, random_state=random)
        product = self._first(samples, pairwise_distances_argmin(samples, centers), centers)
        self.inertias_: list[float] = []
        self._assign(samples, product)
        for turn in range(1, self.max_iter + 1):
            product = _updated(samples, self.labels_, product)
            self._assign(samples, product)
            self.n_iter_ = turn
            if self._is_done():
                break
        return self

    def _check(self, n_samples: int) -> None:
        for name, least in (("n_clusters", 1), ("n_factors", 2), ("max_iter", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: must be >= {least}, got {getattr(self, name)}")
        if not self.tol >= 0:
            raise ValueError(f"tol: must be >= 0, got {self.tol}")
        if n_samples < self.n_clusters:
            raise ValueError(f"n_samples={n_samples} should be >= n_clusters={self.n_clusters}")

    def _first(self, samples: Array, labels: Array, centers: Array) -> SparseProduct:
        """Factorize the means of the first clusters."""
        numbers = centers.shape[0] * centers.shape[1], 2 * (centers.shape[0] + centers.shape[1])
        n_nonzeros = max(int(SHARE * numbers[0]), numbers[1]) if self.n_nonzeros is None else self.n_nonzeros
        n_own = max(SQUARE * n_nonzeros / self.n_factors, PER_ROW * min(centers.shape))
        share = min(n_own / max(n_nonzeros, 1), 1 / self.n_factors)
        weights, means = _means(samples, labels, torch.from_numpy(centers).double())
        product = hierarchical(
            weights * means, n_factors=self.n_factors, n_nonzeros=n_nonzeros, share=share, n_sweeps=START_SWEEPS
        )
        return SparseProduct((product.factors[0] / weights, *product.factors[1:]), product.residual)

    def _assign(self, samples: Array, product: SparseProduct) -> None:
        """Move every sample to its nearest centroid."""
        self.product_ = SparseRows(product, samples.dtype)
        self.cluster_centers_ = self.product_.dense
        distances = self.product_.squared_distances(samples)
        self.labels_ = distances.argmin(axis=1).astype(np.int32)
        self.inertia_ = float(distances.min(axis=1).sum(dtype=np.float64))
        self.inertias_.append(self.inertia_)

    def _is_done(self) -> bool:
        """Whether the last update lowered the sum by next to nothing."""
        before, after = self.inertias_[-2:]
        return before - after <= self.tol * before

    def transform(self, X: Any) -> Array:  # noqa: N803
        """Compute the distances of samples, shape (n_samples, n_features), to the centroids."""
        return np.sqrt(self._distances(X))

    def predict(self, X: Any) -> Array:  # noqa: N803
        """Find the nearest centroid of samples, shape (n_samples, n_features)."""
        labels: Array = self._distances(X).argmin(axis=1).astype(np.int32)
        return labels

    def _distances(self, X: Any) -> Array:  # noqa: N803
        check_is_fitted(self)
        kind = self.cluster_centers_.dtype
        return self.product_.squared_distances(validate_data(self, X, dtype=kind, order="C", reset=False))

    @property
    def _n_features_out(self) -> int:
        return int(self.cluster_centers_.shape[0])


def _means(samples: Array, labels: Array, centers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Means of clusters with the roots of their sizes; an empty one counts as one sample at its centroid."""
    places = (np.ones(len(labels)), (labels, np.arange(len(labels))))
    assigned = scipy.sparse.csr_array(places, shape=(len(centers), len(labels)))
    sizes = torch.from_numpy(np.bincount(labels, minlength=len(centers)).astype(np.float64)).unsqueeze(1)
    sums = torch.from_numpy(assigned @ samples.astype(np.float64))
    return sizes.clamp(min=1).sqrt(), torch.where(sizes > 0, sums / sizes.clamp(min=1), centers)


def _updated(samples: Array, labels: Array, product: SparseProduct) -> SparseProduct:
    """Lower the weighted error of the centroids, starting from their factors.

    A weight on each row of the means is a weight on each row of the first factor, which keeps its number of entries.
    """
    weights, means = _means(samples, labels, product.dense())
    first, *others = product.factors
    sets = [
        Constraint("sp", (each.shape[0], each.shape[1]), int(torch.count_nonzero(each))) for each in product.factors
    ]
    found = palm4msa(weights * means, sets, start=[weights * first, *others], n_sweeps=N_SWEEPS)
    return SparseProduct((found.factors[0] / weights, *found.factors[1:]), found.residual)
