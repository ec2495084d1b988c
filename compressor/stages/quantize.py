"""Quantize an ONNX file: by one of `compressor.quantizers`, within a limit on the accuracy if one is given."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import onnx
from pydantic import Field, model_validator

from compressor import quantizers
from compressor.errors import GateMissed, InputError, listed
from compressor.files import explained, replacing
from compressor.graphs import manifest, packing, sensitivity
from compressor.graphs.ranges import Feed, Method
from compressor.graphs.saturation import saturates
from compressor.model import OnnxGraph
from compressor.model.quiet import quantizer_quiet
from compressor.options import Calibration, Share
from compressor.plugins import discover, one_of
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

    If the graph is already in that folder, as the original's is, the new file is ``model-int8.onnx`` next to it.
    """
    is_beside = graph.path.parent == context.folder
    path = context.folder / ("model-int8.onnx" if is_beside else "model.onnx")
    quantizer = discover(quantizers, Quantizer)[options.mode]
    rows = _rows(graph, options, context) if {"rows"} & quantizer.TAKES or options.max_accuracy_drop is not None else ()
    settings = _settings(graph, quantizer, options, rows)
    made = OnnxGraph(path, graph.task, precision=quantizer.precision(settings))
    with replacing(path) as beside, quantizer_quiet():
        if options.max_accuracy_drop is not None and not is_beside:
            settings = _within_limit(graph, quantizer, settings, options, context, beside)
        onnx.save(_quantized(graph, quantizer, settings, options), beside)
    if not is_beside:
        with explained(context.folder):
            shutil.copy(graph.path.with_name("config.json"), context.folder)
            manifest.copy(graph.path, path)
            if graph.task.processor is not None:
                graph.task.processor.save_pretrained(context.folder)
    return made


def _settings(graph: OnnxGraph, quantizer: Quantizer, options: Options, rows: Sequence[Feed]) -> Settings:
    layers = quantizer.layers(_read(graph.path))
    left = set()
    for pattern in options.float_layers:
        matching = {layer for layer in layers if fnmatchcase(layer, pattern)}
        if not matching:
            raise InputError(f"quantize: float_layers: no layer matches {pattern!r}; there are {listed(layers)}")
        left |= matching
    return Settings(
        rows=rows,
        ranges=options.ranges,
        target=options.target,
        bits=options.bits,
        block_size=options.block_size,
        reduce_range=saturates() if options.reduce_range == "auto" else options.reduce_range,
        left=frozenset(left),
    )


def _quantized(graph: OnnxGraph, quantizer: Quantizer, settings: Settings, options: Options) -> onnx.ModelProto:
    proto = _read(graph.path)
    if options.embeddings == "int4":
        packing.pack_embeddings_(proto)
    proto = quantizer.quantize(proto, settings)
    if options.storage_bits == 4:
        packing.pack_products_(proto)
    return proto


def _within_limit(
    graph: OnnxGraph, quantizer: Quantizer, settings: Settings, options: Options, context: Context, file: Path
) -> Settings:
    """Leave the layers that do the most harm in float, until the held-out accuracy is within the limit."""
    before = context.trainer.evaluate(graph)["accuracy_held_out"]
    tried: list[dict[str, object]] = []

    def is_enough(left: frozenset[str]) -> bool:
        onnx.save(_quantized(graph, quantizer, replace(settings, left=settings.left | left), options), file)
        after = context.trainer.evaluate(OnnxGraph(file, graph.task))["accuracy_held_out"]
        tried.append({"n_left": len(left), "accuracy_held_out": after})
        return before - after <= (options.max_accuracy_drop or 0.0) + 1e-9

    if is_enough(frozenset()):
        return settings
    layers = [layer for layer in quantizer.layers(_read(graph.path)) if layer not in settings.left]

    def alone(left: frozenset[str]) -> onnx.ModelProto:
        return quantizer.quantize(_read(graph.path), replace(settings, left=settings.left | left))

    damage = dict(sensitivity.damages(_read(graph.path), layers, alone, settings.rows[:N_COMPARED]))
    left = sensitivity.fewest_left(damage, is_enough)
    kept = sorted(left or (), key=lambda layer: -damage[layer])
    document = {"accuracy_held_out": before, "tried": tried, "left": kept, "damage": damage}
    context.journal.write_json(SENSITIVITY, document)
    if left is None:
        worst = sorted(damage, key=lambda layer: -damage[layer])[:3]
        raise GateMissed(
            f"quantize: held-out accuracy falls from {before:.4f} to {tried[-1]['accuracy_held_out']:.4f} with all "
            f"layers in float too, more than max_accuracy_drop {options.max_accuracy_drop:g} (worst layers: "
            f"{listed(worst)}); raise it, or use other bits"
        )
    context.journal.log(float_layers=len(kept), worst=kept[0])
    return replace(settings, left=settings.left | left)


def _rows(graph: OnnxGraph, options: Options, context: Context) -> list[Feed]:
    """Calibration rows as the file takes them: one at a time, as nothing then is padded."""
    return [
        {name: tensor.numpy() for name, tensor in row.items() if name != "labels"}
        for row in context.trainer.calibration_rows(options.calibration, graph.task)
    ]


def _read(file: Path) -> onnx.ModelProto:
    """Read a graph without its recorded shapes: the quantizers would keep those of the float weights."""
    proto = onnx.load(file)
    proto.graph.ClearField("value_info")
    return proto
