"""Fastfood: random Fourier features of the Gaussian kernel, by Hadamard products in place of a random matrix."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from compressor.transforms.rows import Array


class Fastfood(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Map samples to random features whose inner products approximate exp(-gamma ||x - y||^2).

    As scikit-learn's ``RBFSampler``, but in O(n_components log n_features) time for a sample and O(n_components)
    memory, rather than O(n_components n_features): the random matrix is S H G P H B, with Hadamard matrices H, a
    permutation P and diagonal matrices of signs B, of Gaussian numbers G and of scales S.

    Parameters
    ----------
    gamma : float, > 0
        Of the kernel.
    n_components : int, >= 1
        Number of features.
    random_state : int, RandomState or None
        Of the diagonals and permutations.

    Attributes
    ----------
    signs_, gaussians_, scales_ : array, shape (n_blocks, n_padded)
        The diagonals of each block; n_padded is the number of features rounded up to a power of two.
    permutations_ : array of int, shape (n_blocks, n_padded)
        The permutation of each block.
    offsets_ : array, shape (n_components,)
        Phases of the cosines.
    n_features_in_ : int
        Number of features of the samples.

    Notes
    -----
    The error falls as 1 / sqrt(n_components). Features of one block are not independent, so that it is a little larger
    than of ``RBFSampler``.

    References
    ----------
    .. [1] Q. Le, T. Sarlos, A. Smola, "Fastfood: approximating kernel expansions in loglinear time", ICML 2013,
       arXiv:1408.3060.

    Examples
    --------
    >>> features = Fastfood(n_components=8, random_state=0).fit_transform(np.zeros((2, 3)))
    >>> features.shape
    (2, 8)
    """

    def __init__(self, *, gamma: float = 1.0, n_components: int = 100, random_state: Any = None) -> None:
        self.gamma = gamma
        self.n_components = n_components
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Draw the random matrix for samples of shape (n_samples, n_features).

        Raises
        ------
        ValueError
            If ``gamma`` is not positive or ``n_components`` < 1.
        """
        samples = validate_data(self, X, dtype=[np.float64, np.float32])
        if not self.gamma > 0 or self.n_components < 1:
            raise ValueError(f"gamma, n_components: must be > 0 and >= 1, got {self.gamma}, {self.n_components}")
        random = check_random_state(self.random_state)
        padded = 1 << (samples.shape[1] - 1).bit_length()
        shape = (-(-self.n_components // padded), padded)
        self.signs_ = random.choice([-1.0, 1.0], shape).astype(samples.dtype)
        self.permutations_ = np.stack([random.permutation(padded) for _ in range(shape[0])])
        gaussians = random.standard_normal(shape)
        lengths = np.sqrt(random.chisquare(padded, shape))  # of the rows of a Gaussian matrix
        scales = lengths * np.sqrt(2 * self.gamma / padded) / np.linalg.norm(gaussians, axis=1, keepdims=True)
        self.gaussians_, self.scales_ = gaussians.astype(samples.dtype), scales.astype(samples.dtype)
        self.offsets_ = random.uniform(0, 2 * np.pi, self.n_components).astype(samples.dtype)
        return self

    def transform(self, X: Any) -> Array:  # noqa: N803
        """Compute the features of samples: shape (n_samples, n_components)."""
        check_is_fitted(self)
        samples = validate_data(self, X, dtype=self.signs_.dtype, reset=False)
        n_blocks, padded = self.signs_.shape
        wide = np.pad(samples, ((0, 0), (0, padded - samples.shape[1])))[:, None, :] * self.signs_
        mixed = np.take_along_axis(hadamard_product(wide), self.permutations_[None], axis=-1) * self.gaussians_
        angles = (hadamard_product(mixed) * self.scales_).reshape(-1, n_blocks * padded)[:, : self.n_components]
        features: Array = np.cos(angles + self.offsets_) * np.sqrt(2 / self.n_components).astype(angles.dtype)
        return features

    @property
    def _n_features_out(self) -> int:
        return self.n_components


def hadamard_product(vectors: Array) -> Array:
    """Multiply the last axis, of a power of two, by the Hadamard matrix of its size, in O(n log n).

    Examples
    --------
    >>> hadamard_product(np.array([1.0, 2.0, 3.0, 4.0])).tolist()
    [10.0, -2.0, -4.0, 0.0]
    """
    size, half = vectors.shape[-1], 1
    while half < size:
        pairs = vectors.reshape(*vectors.shape[:-1], size // (2 * half), 2, half)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        vectors = np.stack((first + second, first - second), axis=-2).reshape(vectors.shape)
        half *= 2
    return vectors
