"""Quantize an ONNX file: by one of `compressor.quantizers`, within a limit on the accuracy if one is given."""

import shutil
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from compressor import quantizers
from compressor.bench.result import PlanSettings, Precision
from compressor.errors import GateMissed, InputError, listed
from compressor.files import explained, replacing
from compressor.graphs import manifest
from compressor.graphs.ranges import Feed, Method
from compressor.graphs.saturation import saturates
from compressor.model import OnnxGraph
from compressor.model.quiet import quantizer_quiet
from compressor.options import Calibration, Share
from compressor.plugins import discover, names, one_of
from compressor.quantizers import Quantizer, Settings
from compressor.quantizing import fastest, work
from compressor.quantizing.work import Work, layers_of
from compressor.training.context import Context
from compressor.training.options import StageOptions

_FIELDS = {"calibration": "rows"}  # of Settings, where the recipe's key has another name
POINTS: PlanSettings = {"batch_sizes": [1], "lengths": [32, 128], "threads": [1]}  # where no bench says others


class Options(StageOptions):
    """Recipe keys of the `quantize` stage."""

    stage: Literal["quantize"]
    mode: Annotated[str, one_of(quantizers, "auto")] = "dynamic"
    """`dynamic`: int8, scales of activations are computed as the graph runs; `static`: int8, they come from calibration
    rows, so that a row's result depends on nothing beside it, and convolutions become integers too; `weights`: only
    weights, in blocks; `auto`: the fastest of them and the float file, measured here at the points of `bench`, within
    `max_accuracy_drop`."""
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
        if self.mode == "auto":
            return self
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
    if is_beside:  # its layers have other names, where exporters give them
        options = options.model_copy(update={"max_accuracy_drop": None, "float_layers": ()})
    with replacing(path) as beside, quantizer_quiet():
        precision = (_fastest if options.mode == "auto" else _chosen)(graph, options, context, beside)
    if not is_beside:
        with explained(context.folder):
            shutil.copy(graph.path.with_name("config.json"), context.folder)
            manifest.copy(graph.path, path)
            if graph.task.processor is not None:
                graph.task.processor.save_pretrained(context.folder)
    return OnnxGraph(path, graph.task, precision=precision)


def work_of(file: Path, options: Options, rows: Sequence[Feed]) -> Work:
    """Say how a file is quantized; the mode is that of a file in `compressor.quantizers`."""
    settings = Settings(
        rows=rows,
        ranges=options.ranges,
        target=options.target,
        bits=options.bits,
        block_size=options.block_size,
        reduce_range=saturates() if options.reduce_range == "auto" else options.reduce_range,
        left=frozenset(_matching(options.float_layers, layers_of(file, options.mode))),
    )
    return Work(file, options.mode, settings, options.embeddings == "int4", options.storage_bits == 4)


def precision_of(options: Options) -> Precision:
    """Name the precision of the file that a mode makes."""
    return discover(quantizers, Quantizer)[options.mode].precision(Settings(bits=options.bits))


def _chosen(graph: OnnxGraph, options: Options, context: Context, file: Path) -> Precision:
    """Quantize by the mode that the recipe names."""
    is_limited = options.max_accuracy_drop is not None
    needs_rows = is_limited or "rows" in discover(quantizers, Quantizer)[options.mode].TAKES
    chosen = work_of(graph.path, options, _rows(graph, options, context) if needs_rows else ())
    if options.max_accuracy_drop is not None:
        try:
            found = chosen.within_limit_(file, _score(graph, context), options.max_accuracy_drop)
        except GateMissed as error:
            context.journal.write_json(work.FILE, error.report)
            raise
        if found is not None:
            context.journal.write_json(work.FILE, found)
            context.journal.log(float_layers=len(found["float_layers"] or ()))
    chosen.save(file)
    return chosen.precision


def _fastest(graph: OnnxGraph, options: Options, context: Context, file: Path) -> Precision:
    """Make the file of each mode, and take the fastest within the limit."""
    rows = _rows(graph, options, context)
    each = [options.model_copy(update={"mode": mode}) for mode in names(quantizers)]
    points = POINTS if context.shipping is None else context.shipping.points
    is_original = graph.path.parent == context.folder
    judge = fastest.Judge(graph.path, _score(graph, context), options.max_accuracy_drop, points, not is_original)
    choice = judge.choose(((one.mode, work_of(graph.path, one, rows)) for one in each), file)
    context.journal.write_json(fastest.FILE, choice)
    context.journal.log(chosen=choice["chosen"])
    return choice["precision"]


def _score(graph: OnnxGraph, context: Context) -> work.Score:
    return lambda file: context.trainer.evaluate(OnnxGraph(file, graph.task))["accuracy_held_out"]


def _rows(graph: OnnxGraph, options: Options, context: Context) -> list[Feed]:
    """Calibration rows as the file takes them: one at a time, as nothing then is padded."""
    return [
        {name: tensor.numpy() for name, tensor in row.items() if name != "labels"}
        for row in context.trainer.calibration_rows(options.calibration, graph.task)
    ]


def _matching(patterns: Sequence[str], layers: Sequence[str]) -> Iterator[str]:
    for pattern in patterns:
        matching = [layer for layer in layers if fnmatchcase(layer, pattern)]
        if not matching:
            raise InputError(f"float_layers: no layer matches {pattern!r}; there are {listed(layers, most=6)}")
        yield from matching
