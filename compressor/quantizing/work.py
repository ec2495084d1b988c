"""Quantize a float file: with some layers left in float, so that a loss of accuracy stays within a limit."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import onnx

from compressor import quantizers
from compressor.bench.result import Precision
from compressor.errors import GateMissed, listed
from compressor.graphs import packing, sensitivity
from compressor.graphs.prepare import float_graph
from compressor.plugins import discover
from compressor.progress import steps
from compressor.quantizers import Quantizer, Settings

FILE = "sensitivity.json"
Score = Callable[[Path], float]
"""Gives the accuracy of a file."""
N_COMPARED = 64  # calibration rows on which the damage of each layer is measured


class Tried(TypedDict):
    """One file that was judged."""

    n_float_layers: int
    accuracy: float


class Sensitivity(TypedDict):
    """What `sensitivity.json` holds."""

    accuracy: float
    """Of the float file."""
    tried: list[Tried]
    float_layers: list[str] | None
    """Layers that stay in float, the worst first; None if no choice is within the limit."""
    damage: dict[str, float]
    """Of each layer the relative error of the outputs when it alone is quantized, the largest first."""


@dataclass
class Work:
    """A float file, and how it is quantized."""

    file: Path
    mode: str
    settings: Settings
    four_bit_embeddings: bool = False
    four_bit_products: bool = False

    @property
    def precision(self) -> Precision:
        """Precision of the file that is made."""
        return self._quantizer.precision(self.settings)

    @property
    def _quantizer(self) -> Quantizer:
        return discover(quantizers, Quantizer)[self.mode]

    def save(self, file: Path, left: frozenset[str] = frozenset()) -> None:
        """Quantize all layers but some, and write the file."""
        graph = float_graph(self.file)
        if self.four_bit_embeddings:
            packing.pack_embeddings_(graph)
        graph = self._quantized(graph, left)
        if self.four_bit_products:
            packing.pack_products_(graph)
        onnx.save(graph, file)

    def within_limit_(self, file: Path, score: Score, max_accuracy_drop: float) -> Sensitivity | None:
        """Leave the layers that do the most harm in float until the loss of accuracy is within the limit.

        Parameters
        ----------
        file : Path
            Gets what is tried.
        score : callable
            Gives the accuracy of a file.
        max_accuracy_drop : float
            Accuracy that may be lost.

        Returns
        -------
        mapping or None
            None if all layers can be quantized.

        Raises
        ------
        GateMissed
            If no choice is within the limit; it has the mapping as its report.
        """
        before, tried = score(self.file), list[Tried]()

        def is_enough(left: frozenset[str]) -> bool:
            self.save(file, left)
            tried.append({"n_float_layers": len(left), "accuracy": score(file)})
            return before - tried[-1]["accuracy"] <= max_accuracy_drop + 1e-9

        if is_enough(frozenset()):
            return None
        damage = self._damages()
        left = sensitivity.fewest_left(damage, is_enough)
        kept = None if left is None else [layer for layer in damage if layer in left]
        found: Sensitivity = {"accuracy": before, "tried": tried, "float_layers": kept, "damage": damage}
        if left is None:
            raise GateMissed(_sentence(found, max_accuracy_drop), found)
        self.settings = replace(self.settings, left=self.settings.left | left)
        return found

    def _damages(self) -> dict[str, float]:
        """Measure the damage of each layer, and give the largest first."""
        layers = [layer for layer in self._quantizer.layers(float_graph(self.file)) if layer not in self.settings.left]

        def quantize(left: frozenset[str]) -> onnx.ModelProto:
            return self._quantized(float_graph(self.file), left)

        damage: dict[str, float] = {}
        measured = sensitivity.damages(float_graph(self.file), layers, quantize, self.settings.rows[:N_COMPARED])
        with steps("damage of each layer", len(layers)) as shown:
            for layer, error in measured:
                damage[layer] = error
                shown.show(len(damage), f"{layer}  {error:.4f}")
        return dict(sorted(damage.items(), key=lambda item: -item[1]))

    def _quantized(self, graph: onnx.ModelProto, left: frozenset[str]) -> onnx.ModelProto:
        return self._quantizer.quantize(graph, replace(self.settings, left=self.settings.left | left))


def layers_of(file: Path, mode: str) -> list[str]:
    """Names of the layers that a mode would quantize."""
    return discover(quantizers, Quantizer)[mode].layers(float_graph(file))


def _sentence(found: Sensitivity, limit: float) -> str:
    worst = listed(list(found["damage"])[:3])
    return (
        f"quantize: accuracy falls from {found['accuracy']:.4f} to {found['tried'][-1]['accuracy']:.4f} with "
        f"all layers in float too, more than max_accuracy_drop {limit:g} (worst: {worst}); raise it, or take other bits"
    )
