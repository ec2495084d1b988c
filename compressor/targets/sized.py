"""Targets on the size of the last file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from transformers.pytorch_utils import Conv1D

from compressor.bench import load
from compressor.bench.result import Precision
from compressor.model import Model
from compressor.progress import said_before
from compressor.surgery import Width
from compressor.targets.costs import Comparison, Costs, Ratios, curve
from compressor.targets.cutting import cut_copy
from compressor.temporary import temporary_folder
from compressor.training.shipping import Shipping

FILE = "file"  # the only point of such a target
BYTES: dict[Precision, float] = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "int4": 0.5, "ternary": 0.25}
QUANTIZED = (nn.Linear, nn.Embedding, Conv1D)


@dataclass(frozen=True)
class Sized:
    """Bytes of the last file over those of the original's file of the same precision."""

    goal: float
    original: Model
    shipping: Shipping
    most_corrections: int = 2
    tolerance: float = 0.01

    def goals(self, points: Iterable[str], original_ms: Ratios) -> Ratios:
        """Give the largest ratio."""
        return {FILE: self.goal}

    def compare(self, models: Sequence[Model]) -> Comparison:
        """Write the files, and compare their bytes with those of the original's."""
        before = self._n_bytes(self.original)
        return Comparison([{FILE: self._n_bytes(model) / before} for model in models])

    def costs(self, model: Model, widths: Sequence[Width], floors: Mapping[str, int]) -> Costs:
        """Estimate from the weights: those of quantized layers take fewer bytes."""
        precision = self.shipping.precision
        before, whole = n_bytes(self.original, precision), n_bytes(model, precision)
        smaller = {
            width.name: n_bytes(cut_copy(model, {width.name: 1}, empty_on="meta"), precision) for width in widths
        }
        curves = {width.name: curve(width.size, {1: (whole - smaller[width.name]) / before}) for width in widths}
        return Costs({FILE: whole / before}, {FILE: curves})

    def _n_bytes(self, model: Model) -> int:
        if model is self.original and self.shipping.original is not None and self.shipping.original.exists():
            return load.size_bytes(self.shipping.original)
        assert self.shipping.write is not None  # `ruler_of` refuses a recipe that exports nothing
        with temporary_folder() as home, said_before():
            return load.size_bytes(self.shipping.write(model, home.path).last.path)


def n_bytes(model: Model, precision: Precision) -> float:
    """Estimate the bytes of a network's weights in a file."""
    total = 0.0
    seen: set[int] = set()
    for module in model.net.modules():
        for name, weights in module.named_parameters(recurse=False):
            if id(weights) not in seen:
                is_quantized = isinstance(module, QUANTIZED) and name == "weight"
                total += weights.numel() * BYTES[precision if is_quantized else "fp32"]
                seen.add(id(weights))
    return total
