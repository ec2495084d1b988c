"""The document of a comparison of factorizations: ``comparison.json``."""

from typing import Literal, TypedDict

from compressor.bench.result import Precision
from compressor.rundir import Environment

FORMAT = 1
DENSE = "dense"  # in place of a method, for the network as it is


class RowSpeed(TypedDict):
    """The time of a file at one shape, and that of the dense fp32 file, both measured in turns."""

    shape: str
    p50_ms: float
    cpu_ms: float | None
    dense_p50_ms: float
    dense_cpu_ms: float | None
    ratio: float
    """Of the times: of p50, or of processor time if other programs shared the processor."""
    clock: Literal["p50", "processor time"]


class Row(TypedDict):
    """A method at a budget, or the dense network; None for what does not apply, as when no layer was factorized."""

    method: str
    precision: Precision
    budget: float | None
    n_layers: int
    """Number of layers that were factorized."""
    left_dense: dict[str, list[str]]
    """The chosen layers that were not, by the reason."""
    weight_error: float | None
    """Relative error of the weight in the Frobenius norm, mean over the factorized layers."""
    output_error: float | None
    """Relative error of a layer's output without its bias on held-out rows, mean over the factorized layers."""
    n_params: int | None
    """Of the whole network; indices of sparse entries count as parameters."""
    size_bytes: int | None
    """Of the parameters, 4 for each in fp32; of the tensors in the file in int8."""
    file_bytes: int | None
    """Of the ONNX file, in which sparse matrices are dense."""
    n_flops: dict[str, int]
    """By the name of a shape."""
    accuracy: float | None
    """Of the ONNX file on the reported split, one example at a time."""
    accuracy_held_out: float | None
    speeds: list[RowSpeed]


class Comparison(TypedDict):
    """``comparison.json``."""

    format: int
    environment: Environment
    source: str
    """The checkpoint."""
    task: str
    dataset: str
    split: str
    """The reported one."""
    n_examples: int
    """Of the reported split."""
    n_held_out: int
    """Rows on which output errors were measured."""
    n_calibration: int
    norm: str
    layers: list[str]
    """The chosen layers."""
    n_weights: int
    """Of the chosen layers."""
    seconds_per_shape: float
    """Time to measure a pair of files at one shape."""
    rows: list[Row]


def name(method: str, precision: Precision, budget: float | None) -> str:
    """Name a row.

    Examples
    --------
    >>> name("svd", "fp32", 0.25), name(DENSE, "int8", None)
    ('svd 0.25', 'dense int8')
    """
    return f"{method} {precision}" if budget is None else f"{method} {budget:g}"
