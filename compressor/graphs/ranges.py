"""The range of every activation of a graph on calibration rows, and from it scales and zero points."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization.calibrate import HistogramCollector

from compressor.errors import InputError, first_line

Array = np.ndarray[Any, Any]
Feed = Mapping[str, Array]
Method = Literal["min_max", "percentile", "entropy", "mse"]
Range = tuple[float, float]

N_BINS = 2048
PERCENTILE = 99.99
N_TRIED = 64  # widths of a range that are compared


def ranges(graph: onnx.ModelProto, names: Sequence[str], rows: Iterable[Feed], method: Method) -> dict[str, Range]:
    """Run a graph on calibration rows, and find the range of each of the named values.

    Parameters
    ----------
    graph : ModelProto
        A float graph.
    names : sequence of str
        Names of float values of the graph.
    rows : iterable of mapping from str to array
        Inputs of one run each. They must not be padded: what stands at padding would count.
    method : str
        ``min_max`` takes everything that was seen; ``percentile`` what lies between the 0.01st and the 99.99th
        percentile, ``entropy`` the range whose 8-bit histogram is nearest to that of all values (Kullback-Leibler),
        and ``mse`` the range with the smallest squared error of 8 bits.

    Returns
    -------
    dict of str to (float, float)
        Least and largest value; zero lies between them.

    Raises
    ------
    InputError
        If the rows do not fit the graph, there are none, or a value is not finite.
    """
    histograms = HistogramCollector(
        "entropy" if method == "entropy" else "percentile", method == "entropy", N_BINS, 128, PERCENTILE, "same"
    )
    extremes: dict[str, Range] = {}
    for values in _run(graph, names, rows):
        for name, array in values.items():
            low, high = extremes.get(name, (0.0, 0.0))
            extremes[name] = (min(low, float(array.min())), max(high, float(array.max())))
        if method != "min_max":
            histograms.collect_value(values)
    if names and not extremes:
        raise InputError("calibration: no row was given; the ranges of activations need some")
    for name, pair in extremes.items():
        if not np.isfinite(pair).all():
            raise InputError(f"calibration: {name!r} has values that are not finite; quantize a sound network")
    narrowed = _METHODS[method](histograms)
    return {name: _within(narrowed.get(name, pair), pair) for name, pair in extremes.items()}


def steps(pair: Range, is_signed: bool) -> tuple[np.float32, Array]:
    """Scale and zero point of an 8-bit range; the zero point in the type of the integers."""
    low, high = pair
    scale = np.float32(max((high - low) / 255, 1e-12))
    kind, least = (np.int8, -128) if is_signed else (np.uint8, 0)
    return scale, np.array(np.clip(np.rint(-low / float(scale)), 0, 255) + least, kind)


def _run(graph: onnx.ModelProto, names: Sequence[str], rows: Iterable[Feed]) -> Iterable[dict[str, Array]]:
    observed = onnx.ModelProto()
    observed.CopyFrom(graph)
    present = {each.name for each in observed.graph.output}
    kind = onnx.TensorProto.FLOAT
    inner = [name for name in names if name not in present and name not in {each.name for each in graph.graph.input}]
    observed.graph.output.extend(onnx.helper.make_tensor_value_info(name, kind, None) for name in inner)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    session = onnxruntime.InferenceSession(observed.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    inputs, outputs = [each.name for each in session.get_inputs()], {each.name for each in session.get_outputs()}
    asked = [name for name in names if name in outputs]
    for row in rows:
        try:
            feed = {name: row[name] for name in inputs}
            arrays = session.run(asked, feed) if asked else []  # an empty list would ask for everything
        except Exception as error:  # onnxruntime's exceptions share no base
            raise InputError(f"calibration: a row does not fit the graph ({first_line(error)})") from error
        yield {**{name: feed[name] for name in names if name in feed}, **dict(zip(asked, arrays, strict=True))}


def _within(pair: Range, seen: Range) -> Range:
    """Keep a range inside what was seen, and zero inside the range."""
    return max(min(pair[0], 0.0), seen[0]), min(max(pair[1], 0.0), seen[1])


def _by_library(histograms: HistogramCollector) -> dict[str, Range]:
    with redirect_stdout(StringIO()):  # it reports each tensor
        found = histograms.compute_collection_result()
    return {name: (float(data[0]), float(data[1])) for name, data in found.items()}


def _by_squared_error(histograms: HistogramCollector) -> dict[str, Range]:
    return {name: _least_error(*entry[:4]) for name, entry in histograms.get_histogram_dict().items()}


def _least_error(counts: Array, edges: Array, low: float, high: float) -> Range:
    """Find the share of the range at which rounding and clipping have the smallest squared error."""
    centers = (edges[:-1] + edges[1:]) / 2
    best, least = (float(low), float(high)), np.inf
    for share in np.linspace(1.0, 1.0 / N_TRIED, N_TRIED):
        pair = (min(float(low), 0.0) * share, max(float(high), 0.0) * share)
        step = max((pair[1] - pair[0]) / 255, 1e-12)
        beyond = centers - np.clip(centers, *pair)
        error = float((counts * np.where(beyond == 0, step**2 / 12, beyond**2)).sum())
        if error < least:
            best, least = pair, error
    return best


_METHODS: dict[Method, Callable[[HistogramCollector], dict[str, Range]]] = {
    "min_max": lambda _: {},
    "percentile": _by_library,
    "entropy": _by_library,
    "mse": _by_squared_error,
}
