"""Whether the products of 8-bit numbers saturate on this processor, found by computing one."""

from functools import cache

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

N = 64  # entries of each vector: more than a register has


@cache
def saturates() -> bool:
    """Whether onnxruntime's product of uint8 by int8 is wrong here for large numbers.

    On x86 processors without VNNI the kernel adds pairs of products in 16 bits. With weights of 7 bits the sums fit.
    """
    factors = [
        helper.make_tensor_value_info("data", TensorProto.UINT8, [N, N]),
        helper.make_tensor_value_info("weight", TensorProto.INT8, [N, N]),
    ]
    product = helper.make_tensor_value_info("product", TensorProto.INT32, [N, N])
    node = helper.make_node("MatMulInteger", ["data", "weight"], ["product"])
    graph = helper.make_graph([node], "product", factors, [product])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    data, weight = np.full((N, N), 255, np.uint8), np.full((N, N), 127, np.int8)
    (found,) = session.run(None, {"data": data, "weight": weight})
    return not np.array_equal(found, data.astype(np.int32) @ weight.astype(np.int32))
