"""The layer that multiplies by a product of sparse factors."""

import string

from torch import Tensor

from compressor.factorizations import Equation, kronecker_sparse
from compressor.nn.linear import FactorizedLinear
from compressor.transforms.butterfly import blocks_of
from compressor.transforms.product import SparseProduct


def multiplying(product: SparseProduct, bias: Tensor | None = None) -> FactorizedLinear:
    """Make the linear layer whose weight is a product of sparse factors, to train it or to export it as ONNX.

    A product of known pattern, as `transforms.butterfly` gives it, becomes stacks of small products: MatMul, Reshape
    and Transpose, with a parameter for each nonzero entry. Factors of any other pattern, and orders of rows and
    columns that were found, are exported dense, one MatMul each: no runtime here multiplies sparse matrices fast.

    Parameters
    ----------
    product : SparseProduct
        Of one matrix, real.
    bias : Tensor, shape (n_rows,), optional
        Added to the outputs.

    Returns
    -------
    FactorizedLinear
        The factors are copied; those with zeros keep them in training.

    Raises
    ------
    ValueError
        If the product is complex or of a batch.

    Examples
    --------
    >>> import torch
    >>> from compressor import transforms
    >>> product = transforms.butterfly(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
    >>> multiplying(product)(torch.tensor([1.0, 2.0])).tolist()
    [3.0, -1.0]
    """
    if any(factor.ndim != 2 or factor.is_complex() for factor in product.factors):
        found = [(tuple(factor.shape), str(factor.dtype)) for factor in product.factors]
        raise ValueError(f"product: must be real, and of one matrix, got {found}")
    if product.pattern is not None:
        pairs = zip(product.factors, product.pattern, strict=True)
        blocks = tuple(blocks_of(factor, sizes) for factor, sizes in pairs)
        expanded = kronecker_sparse.expand(blocks)
        return FactorizedLinear.of("kronecker_sparse", kronecker_sparse.equation(blocks), expanded, bias)
    letters = string.ascii_lowercase[: len(product.factors) + 1]
    term = tuple(letters[i : i + 2] for i in range(len(product.factors)))
    equation = Equation((term,), (letters[0], letters[-1]), sparse=tuple(range(len(term))))
    return FactorizedLinear.of("product_of_sparse", equation, product.factors, bias)
