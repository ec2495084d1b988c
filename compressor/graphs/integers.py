"""Products with integers: weights as int8, and the nodes that compute a product of them in standard operators."""

from typing import Any

import numpy as np
import onnx
from onnx import helper

from compressor.graphs.products import Product, add_tensor

Array = np.ndarray[Any, Any]


def rounded(matrix: Array, largest: int) -> tuple[Array, Array]:
    """Round the columns of a matrix to integers between ``-largest`` and ``largest``.

    Returns
    -------
    integers : array of int8, shape (n_in, n_out)
    scales : array of float32, shape (n_out,)
        ``integers * scales`` is near the matrix; 1 for a column of zeros.
    """
    greatest = np.abs(matrix).max(axis=0, initial=0.0)
    scales = np.where(greatest > 0, greatest / largest, 1.0).astype(np.float32)
    return np.clip(np.rint(matrix / scales), -largest, largest).astype(np.int8), scales


class IntegerProducts:
    """Writes the nodes of integer products into a graph; products of one activation share its quantization."""

    def __init__(self, graph: onnx.GraphProto, largest: int) -> None:
        self.graph, self.largest = graph, largest
        self._quantized: set[str] = set()
        self._rounded: set[str] = set()

    def nodes(self, product: Product, matrix: Array, scale: np.float32, zero_point: Array) -> list[onnx.NodeProto]:
        """Make the nodes of one product.

        onnxruntime joins them, with the bias that follows, into one kernel, as it does where the scale is computed at
        run time. It would not if the scales of both factors were constants, because it multiplies these first: so the
        scale of the activation is read through a DequantizeLinear, which onnxruntime does not compute beforehand.
        """
        data, weight, output = product.data, product.weight, product.node.output[0]
        made = [] if data in self._quantized else self._quantize(data, scale, zero_point)
        self._quantized.add(data)
        self._round(weight, matrix)
        factors = [f"{data}_int8", f"{weight}_int8", f"{data}_int8_zero_point"]
        made += [
            helper.make_node("MatMulInteger", factors, [f"{output}_integers"], name=f"{output}_integers"),
            helper.make_node("Cast", [f"{output}_integers"], [f"{output}_floats"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [f"{data}_int8_step", f"{weight}_int8_scale"], [f"{output}_steps"]),
            helper.make_node("Mul", [f"{output}_floats", f"{output}_steps"], [output]),
        ]
        return made

    def _round(self, weight: str, matrix: Array) -> None:
        """Write a matrix, once for all products by it."""
        if weight in self._rounded:
            return
        self._rounded.add(weight)
        integers, scales = rounded(matrix, self.largest)
        add_tensor(self.graph, f"{weight}_int8", integers)
        add_tensor(self.graph, f"{weight}_int8_scale", scales)

    def _quantize(self, data: str, scale: np.float32, zero_point: Array) -> list[onnx.NodeProto]:
        add_tensor(self.graph, f"{data}_int8_scale", np.array(scale))
        add_tensor(self.graph, f"{data}_int8_zero_point", zero_point)
        add_tensor(self.graph, f"{data}_int8_one", np.ones((), zero_point.dtype))
        quantize = [data, f"{data}_int8_scale", f"{data}_int8_zero_point"]
        return [
            helper.make_node("QuantizeLinear", quantize, [f"{data}_int8"], name=f"{data}_int8"),
            helper.make_node("DequantizeLinear", [f"{data}_int8_one", f"{data}_int8_scale"], [f"{data}_int8_step"]),
        ]
