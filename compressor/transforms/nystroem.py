"""Nystroem features of a kernel whose landmarks are a product of sparse factors."""

from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from compressor.transforms.quick_kmeans import QuicKMeans
from compressor.transforms.rows import Array, SparseRows

SMALLEST = 1e-12  # singular values of the landmarks' kernel below it count as it, as in scikit-learn


class FastNystroem(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Map samples to features whose inner products approximate a kernel, through landmarks that multiply fast.

    As scikit-learn's ``Nystroem``, but the landmarks are the centroids of `QuicKMeans`: the kernel of a sample with all
    of them takes one product with sparse factors.

    Parameters
    ----------
    kernel : "rbf" or "poly"
        exp(-gamma ||x - y||^2), or (gamma x.y + coef0)^degree.
    gamma : float, optional
        Of the kernel; 1 / n_features by default.
    degree, coef0 : float
        Of the polynomial kernel.
    n_components : int, >= 1
        Number of landmarks and of features; as many as there are samples, if that is less.
    n_nonzeros : int, optional
        Number of nonzero entries in the factors of the landmarks; by default that of `QuicKMeans`.
    n_factors : int, >= 2
        Number of factors.
    max_iter : int, >= 1
        Largest number of turns of `QuicKMeans`.
    random_state : int, RandomState or None
        Of `QuicKMeans`.

    Attributes
    ----------
    landmarks_ : SparseRows
        The landmarks as factors, ``landmarks_.factors``, and multiplied out, ``landmarks_.dense``.
    normalization_ : array, shape (n_components, n_components)
        The inverse square root of their kernel. It is dense, so that features take n_components^2 products more.
    n_iter_ : int
        Number of turns that `QuicKMeans` took.
    n_features_in_ : int
        Number of features of the samples.

    References
    ----------
    .. [1] C. K. I. Williams, M. Seeger, "Using the Nystroem method to speed up kernel machines", NIPS 2000.
    .. [2] L. Giffon, V. Emiya, H. Kadri, L. Ralaivola, "QuicK-means: accelerating inference for K-means by learning
       fast transforms", Machine Learning 110, 2021, arXiv:1908.08713.

    Examples
    --------
    >>> samples = np.random.default_rng(0).standard_normal((40, 5))
    >>> FastNystroem(n_components=10, random_state=0).fit_transform(samples).shape
    (40, 10)
    """

    def __init__(
        self,
        kernel: Literal["rbf", "poly"] = "rbf",
        *,
        gamma: float | None = None,
        degree: float = 3,
        coef0: float = 1,
        n_components: int = 100,
        n_nonzeros: int | None = None,
        n_factors: int = 2,
        max_iter: int = 30,
        random_state: Any = None,
    ) -> None:
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.n_components = n_components
        self.n_nonzeros = n_nonzeros
        self.n_factors = n_factors
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Find the landmarks of samples of shape (n_samples, n_features).

        Raises
        ------
        ValueError
            If the kernel is not one of the two, or a number is out of range.
        """
        samples = validate_data(self, X, dtype=[np.float64, np.float32])
        if self.kernel not in ("rbf", "poly"):
            raise ValueError(f"kernel: must be 'rbf' or 'poly', got {self.kernel!r}")
        if self.n_components < 1:
            raise ValueError(f"n_components: must be >= 1, got {self.n_components}")
        found = QuicKMeans(
            min(self.n_components, len(samples)),
            n_nonzeros=self.n_nonzeros,
            n_factors=self.n_factors,
            max_iter=self.max_iter,
            random_state=self.random_state,
        ).fit(samples)
        self.landmarks_: SparseRows = found.product_
        self.n_iter_: int = found.n_iter_
        left, values, right = np.linalg.svd(self._kernel(self.landmarks_.dense))
        self.normalization_: Array = left / np.sqrt(np.maximum(values, SMALLEST)) @ right
        return self

    def _kernel(self, samples: Array) -> Array:
        """Kernel of samples with the landmarks."""
        gamma = 1 / samples.shape[1] if self.gamma is None else self.gamma
        values: Array
        if self.kernel == "rbf":
            values = np.exp(-gamma * self.landmarks_.squared_distances(samples))
        else:
            values = (gamma * self.landmarks_.inner(samples) + self.coef0) ** self.degree
        return values

    def transform(self, X: Any) -> Array:  # noqa: N803
        """Compute the features of samples: shape (n_samples, n_components)."""
        check_is_fitted(self)
        samples = validate_data(self, X, dtype=self.landmarks_.dense.dtype, reset=False)
        features: Array = self._kernel(samples) @ self.normalization_.T
        return features

    @property
    def _n_features_out(self) -> int:
        return len(self.normalization_)
