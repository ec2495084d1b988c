"""What quantizing each layer alone does to the outputs of a graph, and which layers to leave in float."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime

from compressor.graphs.ranges import Feed

Array = np.ndarray[Any, Any]
Quantize = Callable[[frozenset[str]], onnx.ModelProto]


def damages(
    graph: onnx.ModelProto, layers: Sequence[str], quantize: Quantize, rows: Sequence[Feed]
) -> Iterable[tuple[str, float]]:
    """Yield each layer with the relative error of the outputs when it alone is quantized.

    Parameters
    ----------
    graph : ModelProto
        The float graph.
    layers : sequence of str
        Names of its layers.
    quantize : callable
        Takes the names of the layers that stay in float, and gives the quantized graph.
    rows : sequence of mapping from str to array
        Inputs of one run each.
    """
    expected = _outputs(graph, rows)
    size = sum(float(np.square(array).sum()) for array in expected) or 1.0
    for layer in layers:
        found = _outputs(quantize(frozenset(layers) - {layer}), rows)
        error = sum(float(np.square(a - b).sum()) for a, b in zip(expected, found, strict=True))
        yield layer, (error / size) ** 0.5


def fewest_left(damage: Mapping[str, float], is_enough: Callable[[frozenset[str]], bool]) -> frozenset[str] | None:
    """Find a small number of layers, the worst first, that must stay in float; None if all of them are not enough.

    ``is_enough`` judges the graph with these layers in float. It is asked about twice the logarithm of the number of
    layers times: the number is doubled until it is enough, then halved back.
    """
    order = sorted(damage, key=lambda layer: -damage[layer])
    low, high = 0, 1
    while not is_enough(frozenset(order[:high])):
        if high >= len(order):
            return None
        low, high = high, min(2 * high, len(order))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(frozenset(order[:middle])) else (middle, high)
    return frozenset(order[:high])


def _outputs(graph: onnx.ModelProto, rows: Sequence[Feed]) -> list[Array]:
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    session = onnxruntime.InferenceSession(graph.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return [array for row in rows for array in session.run(None, {name: row[name] for name in names})]
