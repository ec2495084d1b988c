"""The nearest matrix of a rank in the norm of a metric, which several factorizations start from."""

import torch
from torch import Tensor

from compressor.numerics.metric import Metric


def truncated(weight: Tensor, rank: int, metric: Metric) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the truncated SVD of a whitened matrix, in float64: left and right vectors unwhitened, and values.

    The nearest matrix is ``left * values @ right``, of shapes (*batch, n_rows, rank) and (*batch, rank, n_columns).
    """
    left, values, right = torch.linalg.svd(metric.whiten(weight), full_matrices=False)
    return metric.unwhiten_rows(left[..., :rank]), values[..., :rank], metric.unwhiten_columns(right[..., :rank, :])


def balanced(weight: Tensor, rank: int, metric: Metric) -> tuple[Tensor, Tensor]:
    """Compute the nearest matrix as a product of two, each with the root of the singular values; in float64."""
    left, values, right = truncated(weight, rank, metric)
    roots = values.sqrt()
    return left * roots.unsqueeze(-2), roots.unsqueeze(-1) * right
