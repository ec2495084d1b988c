"""Time single operations in onnxruntime, to predict the time of a layer of several."""

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from compressor.files import read_json, write_json
from compressor.nn import Operation

N_BLOCKS = 9
SECONDS_PER_BLOCK = 0.002
OPSET = 18


@dataclass
class Prices:
    """Seconds of each operation on one thread of this machine, measured once each and kept in a file."""

    file: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file is not None and self.file.is_file():
            self.seconds |= read_json(self.file)

    def total(self, operations: Iterable[Operation]) -> float:
        """Predict the seconds of a chain of operations: the sum of those of each."""
        return sum(self._of(operation) for operation in operations)

    def _of(self, operation: Operation) -> float:
        if operation.name not in self.seconds:
            self.seconds[operation.name] = _measured(operation)
            if self.file is not None:
                write_json(self.file, self.seconds)
        return self.seconds[operation.name]


def _measured(operation: Operation) -> float:
    """Time an operation beside a graph that does nothing, whose time every graph takes once."""
    run, nothing = _runner(operation), _runner(Operation("Identity", (1,)))
    n_runs = max(1, round(SECONDS_PER_BLOCK / max(_block(run, 3), 1e-7)))
    pairs = [(_block(run, n_runs), _block(nothing, n_runs)) for _ in range(N_BLOCKS)]
    least = statistics.median(own for own, _ in pairs) - statistics.median(other for _, other in pairs)
    return max(least, 1e-8)


def _block(run: Callable[[], object], n_runs: int) -> float:
    """Processor time of one run, the mean of several after one that is not counted."""
    run()
    start = time.thread_time()
    for _ in range(n_runs):
        run()
    return (time.thread_time() - start) / n_runs


def _runner(operation: Operation) -> Callable[[], object]:
    """Make the graph of one operation, and the function that runs it."""
    rng = np.random.default_rng(0)
    names, weights = ["x"], []
    if operation.weight:
        names.append("weight")
        values = rng.standard_normal(operation.weight).astype(np.float32)
        weights.append(numpy_helper.from_array(values, "weight"))
    attributes: dict[str, Any] = {name: value if name != "group" else value[0] for name, value in operation.settings}
    node = helper.make_node(operation.kind, names, ["y"], **attributes)
    data = helper.make_tensor_value_info("x", TensorProto.FLOAT, operation.input)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "operation", [data], [result], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {"x": rng.standard_normal(operation.input).astype(np.float32)}
    return lambda: session.run(None, feeds)
