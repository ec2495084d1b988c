"""Time single operations in onnxruntime, to predict the time of a layer of several."""

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from compressor.files import read_json, write_json
from compressor.nn import Operation

N_RUNS = 31
OPSET = 18
NOTHING = Operation("Identity", (1,))
REFERENCE = Operation("MatMul", (64, 1024), (1024, 1024))  # reads 4 MB, more than most caches of a core


@dataclass
class Prices:
    """Time of each operation on one thread of this machine, measured once each and kept in a file.

    The unit is the time of a product of fixed size, `REFERENCE`, that runs before each of them: so a price does not
    depend on how fast the processor is at that moment, and the weights are not in the core's cache, as in a network,
    where other layers run before. What an operation reads is there, as the operation before has just written it.
    """

    file: Path | None = None
    times: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file is not None and self.file.is_file():
            self.times |= read_json(self.file)

    def total(self, operations: Iterable[Operation]) -> float:
        """Predict the time of a chain of operations: the sum of those of each."""
        return sum(self._of(operation) for operation in operations)

    def _of(self, operation: Operation) -> float:
        if operation.name not in self.times:
            self.times[operation.name] = _measured(operation)
            if self.file is not None:
                write_json(self.file, self.times)
        return self.times[operation.name]


def _measured(operation: Operation) -> float:
    """Time an operation less what every graph takes once, over the reference before it."""
    own, nothing, reference = (single(each) for each in (operation, NOTHING, REFERENCE))
    times = []
    for _ in range(N_RUNS):
        unit, mine = reference.seconds(), own.seconds()
        reference.seconds()
        times.append((mine - nothing.seconds()) / unit)
    return max(statistics.median(times), 1e-6)


@dataclass(frozen=True)
class Runner:
    """A graph with what it reads."""

    run: Callable[[], object]
    inputs: np.ndarray[Any, Any]

    def seconds(self) -> float:
        """Processor time of one run, after its inputs were read into the cache."""
        self.inputs.max()
        start = time.thread_time()
        self.run()
        return time.thread_time() - start


def single(operation: Operation) -> Runner:
    """Make the graph of one operation."""
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
    return bound(session, rng.standard_normal(operation.input).astype(np.float32))


def bound(session: onnxruntime.InferenceSession, inputs: np.ndarray[Any, Any]) -> Runner:
    """Run a session into the same memory every time: copying outputs to numpy is no part of an operation."""
    outputs = onnxruntime.OrtValue.ortvalue_from_numpy(session.run(None, {"x": inputs})[0])
    binding = session.io_binding()
    binding.bind_cpu_input("x", inputs)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, outputs)
    return Runner(partial(session.run_with_iobinding, binding), inputs)
