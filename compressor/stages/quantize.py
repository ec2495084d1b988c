"""Quantize an ONNX file: by one of `compressor.quantizers`, within a limit on the accuracy if one is given."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import onnx
from pydantic import Field, model_validator

from compressor import quantizers
from compressor.errors import GateMissed, InputError, listed
from compressor.files import explained, replacing
from compressor.graphs import manifest, packing, sensitivity
from compressor.graphs.prepare import float_graph
from compressor.graphs.ranges import Feed, Method
from compressor.graphs.saturation import saturates
from compressor.model import OnnxGraph
from compressor.model.quiet import quantizer_quiet
from compressor.options import Calibration, Share
from compressor.plugins import discover, one_of
from compressor.progress import steps
from compressor.quantizers import Quantizer, Settings
from compressor.training.context import Context
from compressor.training.options import StageOptions

SENSITIVITY = "sensitivity.json"
N_COMPARED = 64  # calibration rows on which the damage of each layer is measured
_FIELDS = {"calibration": "rows", "float_layers": "left"}  # of Settings, where the recipe's key has another name


class Options(StageOptions):
    """Recipe keys of the `quantize` stage."""

    stage: Literal["quantize"]
    mode: Annotated[str, one_of(quantizers)] = "dynamic"
    """`dynamic`: int8, scales of activations are computed as the graph runs; `static`: int8, they come from calibration
    rows, so that a row's result depends on nothing beside it, and convolutions become integers too; `weights`: only
    weights, in blocks."""
    calibration: Calibration = Calibration(examples=128)
    """Rows from which `static` takes the ranges of activations, each alone and without padding."""
    ranges: Method = "min_max"
    """How `static` finds the range of an activation: `min_max`, `percentile` (99.99), `entropy` or `mse`."""
    target: Literal["x86", "arm"] = "x86"
    """Processor for which `static` writes activations: without a sign on x86, with one on Arm."""
    bits: Literal[4, 8] = 4
    """Bits of `weights`."""
    block_size: Literal[16, 32, 64, 128, 256] = 32
    """Number of weights that share a scale in `weights`."""
    embeddings: Literal["int8", "int4"] = "int8"
    """Tables of embeddings: with `int4` two numbers share a byte, and each row has a scale."""
    storage_bits: Literal[4, 8] = 8
    """With 4, products have 4 bits in the file and 8 in the arithmetic of `dynamic` and `static`."""
    reduce_range: bool | Literal["auto"] = "auto"
    """Use 7 bits for weights, because 8 can saturate on x86 CPUs without VNNI; `auto` computes a product to see whether
    this CPU does."""
    float_layers: tuple[str, ...] = ()
    """Patterns of names of layers that stay in float."""
    max_accuracy_drop: Share | None = Field(default=None, ge=0, le=1)
    """Accuracy on the held-out share that may be lost, as a fraction; the layers that do the most harm stay in float
    until the loss is within it. If that is not enough, the run ends with exit code 6."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Options":
        taken = discover(quantizers, Quantizer)[self.mode].TAKES
        for name in ("calibration", "ranges", "target", "bits", "block_size", "reduce_range"):
            is_given = name in self.model_fields_set and getattr(self, name) != type(self).model_fields[name].default
            if is_given and _FIELDS.get(name, name) not in taken:
                raise ValueError(f"{name!r} is not for mode: {self.mode}; leave it out, or choose another mode")
        if self.storage_bits == 4 and "bits" in taken:
            raise ValueError(f"'storage_bits' is for integer products; with mode: {self.mode} give 'bits'")
        return self


def run(graph: OnnxGraph, options: Options, context: Context) -> OnnxGraph:
    """Quantize into a complete folder.

    If the graph is already in that folder, as the original's is, the new file is ``model-int8.onnx`` next to it, and no
    limit holds.
    """
    is_beside = graph.path.parent == context.folder
    path = context.folder / ("model-int8.onnx" if is_beside else "model.onnx")
    rows = _rows(graph, options, context) if needs_rows(options) else ()
    work = Work(graph.path, options, rows, must_match=not is_beside)

    def score(file: Path) -> float:
        return context.trainer.evaluate(OnnxGraph(file, graph.task))["accuracy_held_out"]

    with replacing(path) as beside, quantizer_quiet():
        found = None if is_beside else work.within_limit(beside, score)
        if found is not None:
            context.journal.write_json(SENSITIVITY, found)
            require_limit(found, options)
        work.save(beside)
    if not is_beside:
        with explained(context.folder):
            shutil.copy(graph.path.with_name("config.json"), context.folder)
            manifest.copy(graph.path, path)
            if graph.task.processor is not None:
                graph.task.processor.save_pretrained(context.folder)
    return OnnxGraph(path, graph.task, precision=work.quantizer.precision(work.settings))


def needs_rows(options: Options) -> bool:
    """Whether calibration rows will be read."""
    return "rows" in discover(quantizers, Quantizer)[options.mode].TAKES or options.max_accuracy_drop is not None


@dataclass
class Work:
    """A float file, and how it is quantized."""

    file: Path
    options: Options
    rows: Sequence[Feed]
    must_match: bool = True
    """Whether each pattern of `float_layers` must match: nodes of the original may have other names."""

    def __post_init__(self) -> None:
        options = self.options
        self.quantizer = discover(quantizers, Quantizer)[options.mode]
        self.layers = self.quantizer.layers(float_graph(self.file))
        self.settings = Settings(
            rows=self.rows,
            ranges=options.ranges,
            target=options.target,
            bits=options.bits,
            block_size=options.block_size,
            reduce_range=saturates() if options.reduce_range == "auto" else options.reduce_range,
            left=frozenset(self._matching(options.float_layers)),
        )

    def save(self, file: Path, left: frozenset[str] = frozenset()) -> None:
        """Quantize all layers but some, and write the file."""
        graph = float_graph(self.file)
        if self.options.embeddings == "int4":
            packing.pack_embeddings_(graph)
        graph = self._quantized(graph, left)
        if self.options.storage_bits == 4:
            packing.pack_products_(graph)
        onnx.save(graph, file)

    def within_limit(self, file: Path, score: Callable[[Path], float]) -> dict[str, Any] | None:
        """Leave the layers that do the most harm in float until the loss of accuracy is within the limit.

        Returns what was tried, or None if there is no limit, or all layers can be quantized.
        """
        if self.options.max_accuracy_drop is None:
            return None
        before = score(self.file)
        tried: list[dict[str, float]] = []

        def is_enough(left: frozenset[str]) -> bool:
            self.save(file, left)
            tried.append({"n_left": len(left), "accuracy": score(file)})
            return before - tried[-1]["accuracy"] <= (self.options.max_accuracy_drop or 0.0) + 1e-9

        if is_enough(frozenset()):
            return None
        layers = [layer for layer in self.layers if layer not in self.settings.left]
        damage = self._damages(layers)
        left = sensitivity.fewest_left(damage, is_enough)
        self.settings = replace(self.settings, left=self.settings.left | (left or frozenset()))
        order = sorted(damage, key=lambda layer: -damage[layer])
        kept = None if left is None else [layer for layer in order if layer in left]
        return {"accuracy": before, "tried": tried, "float_layers": kept, "damage": {one: damage[one] for one in order}}

    def _damages(self, layers: Sequence[str]) -> dict[str, float]:
        def quantize(left: frozenset[str]) -> onnx.ModelProto:
            return self._quantized(float_graph(self.file), left)

        damage: dict[str, float] = {}
        measured = sensitivity.damages(float_graph(self.file), layers, quantize, self.rows[:N_COMPARED])
        with steps("damage of each layer", len(layers)) as shown:
            for layer, error in measured:
                damage[layer] = error
                shown.show(len(damage), f"{layer}  {error:.4f}")
        return damage

    def _quantized(self, graph: onnx.ModelProto, left: frozenset[str]) -> onnx.ModelProto:
        return self.quantizer.quantize(graph, replace(self.settings, left=self.settings.left | left))

    def _matching(self, patterns: Sequence[str]) -> Iterator[str]:
        for pattern in patterns:
            matching = [layer for layer in self.layers if fnmatchcase(layer, pattern)]
            if not matching and self.must_match:
                raise InputError(f"float_layers: no layer matches {pattern!r}; there are {listed(self.layers, most=6)}")
            yield from matching


def require_limit(found: dict[str, Any], options: Options) -> None:
    """Raise `GateMissed` if no choice of layers was within the limit."""
    if found["float_layers"] is None:
        raise GateMissed(
            f"quantize: accuracy falls from {found['accuracy']:.4f} to {found['tried'][-1]['accuracy']:.4f} with all "
            f"layers in float too, more than max_accuracy_drop {options.max_accuracy_drop:g} (worst layers: "
            f"{listed(list(found['damage'])[:3])}); raise it, or use other bits"
        )


def _rows(graph: OnnxGraph, options: Options, context: Context) -> list[Feed]:
    """Calibration rows as the file takes them: one at a time, as nothing then is padded."""
    return [
        {name: tensor.numpy() for name, tensor in row.items() if name != "labels"}
        for row in context.trainer.calibration_rows(options.calibration, graph.task)
    ]
