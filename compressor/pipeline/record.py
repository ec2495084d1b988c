"""The facts recorded about an artifact: its size, FLOPs, sparsity and measured accuracy."""

from collections.abc import Iterator
from typing import cast

from compressor import surgery
from compressor.bench.result import Kind, PlannedVariant, PlanSettings, Precision, variant_name
from compressor.bench.shape import Shape
from compressor.data.batches import metrics
from compressor.model.artifact import Model, OnnxGraph
from compressor.model.outputs import logits_of, n_flops
from compressor.recipe.schema import Bench
from compressor.rundir import FileRecord, HeldOut, Metrics, StepRecord
from compressor.training.context import Context


def record_of(model: Model, bench: Bench) -> StepRecord:
    """Size, FLOPs and sparsity of a model."""
    weights = list(model.net.parameters())
    n_params = surgery.n_params(model.net)
    counted = [width for width in model.widths() if not width.crosses]
    return {
        "n_params": n_params,
        "n_flops": _n_flops(model, bench),
        "sparsity": sum(int((tensor == 0).sum()) for tensor in weights) / n_params,
        "column_sparsity": surgery.column_sparsity(model.net, counted),
        "size_bytes": sum(tensor.nbytes for tensor in weights),
        "widths": n_units(model),
        "layers": list(model.layers),
        "features": list(model.features),
        "factorized": surgery.described(model.net),
    }


def model_record(model: Model, bench: Bench, context: Context) -> StepRecord:
    """Record of a model that a step returned: its size, and its metrics on the held-out share."""
    return {**record_of(model, bench), **_held_out(model, context)}


def at_bench(record: StepRecord, artifact: Model | OnnxGraph, bench: Bench, before: StepRecord) -> StepRecord:
    """Return the record of a finished step with the FLOPs at the shapes of this bench, which no key depends on.

    ``before`` is the record of the previous step: a file has the FLOPs of the model that it was made of.
    """
    if isinstance(artifact, OnnxGraph):
        return {**record, "n_flops": before["n_flops"]}
    if list(record["n_flops"]) == [shape.name for shape in _shapes(artifact, bench)]:
        return record
    return {**record, "n_flops": _n_flops(artifact, bench)}


def _n_flops(model: Model, bench: Bench) -> dict[str, int]:
    return {shape.name: n_flops(model, shape.batch_size, shape.length or 0) for shape in _shapes(model, bench)}


def n_units(model: Model) -> dict[str, int]:
    """Units of each width, and the tokens of a vocabulary, which `trim_vocabulary` removes."""
    widths = model.arch.widths(model.net)  # also of factorized layers that cannot be cut
    return {width.name: width.size for width in widths} | model.task.inputs.sizes(model.net.config)


def _shapes(model: Model, bench: Bench) -> Iterator[Shape]:
    """Yield the shapes at which the files are measured, under the bench's names."""
    for batch_size in bench.batch_sizes:
        if model.task.inputs.HAS_LENGTH:
            yield from (Shape(batch_size, length) for length in bench.lengths)
        else:
            yield Shape(batch_size)


def onnx_record(graph: OnnxGraph, before: StepRecord, context: Context) -> StepRecord:
    """Facts of an exported file; parameters, FLOPs and widths are those of the exported model."""
    file = file_record(graph, context)
    return {
        "n_params": before["n_params"],
        "n_flops": before["n_flops"],
        "sparsity": before["sparsity"],
        "column_sparsity": before["column_sparsity"],
        "widths": before["widths"],
        "layers": before["layers"],
        "features": before.get("features", []),
        "factorized": before.get("factorized", []),
        "file": f"{context.folder.name}/{graph.path.name}",
        "accuracy_held_out": _held_out(graph, context)["accuracy_held_out"],
        "accuracy": file["accuracy"],
        "n_examples": file["n_examples"],
        "split": file["split"],
        "size_bytes": file["size_bytes"],
        "precision": graph.precision,
    }


def file_record(graph: OnnxGraph, context: Context) -> FileRecord:
    """Accuracy of the file itself on the reported split, its size and its precision.

    One example at a time, as it will be used: dynamic quantization has one scale for a whole batch, so that other
    examples and padding would change the output.
    """
    report = context.data.for_task(graph.task).report
    scores = cast(Metrics, metrics(graph.task, logits_of(graph), report, batch_size=1))
    files = [graph.path, *graph.path.parent.glob(f"{graph.path.name}.data")]
    return {
        **scores,
        "n_examples": len(report),
        "split": context.data.report_name,
        "size_bytes": sum(file.stat().st_size for file in files),
        "precision": graph.precision,
    }


def _held_out(artifact: Model | OnnxGraph, context: Context) -> HeldOut:
    return cast(HeldOut, context.trainer.evaluate(artifact))


def bench_settings(bench: Bench) -> PlanSettings:
    """Keys of the bench's plan that a recipe sets."""
    return {
        "batch_sizes": list(bench.batch_sizes),
        "lengths": list(bench.lengths),
        "threads": list(bench.threads),
        "meter": bench.meter,
    }


def variant(
    file: str, kind: Kind, precision: Precision, model: StepRecord, measured: FileRecord | StepRecord
) -> PlannedVariant:
    """Entry of the bench plan: a file, and the model that was exported to it."""
    return {
        "name": variant_name(kind, precision),
        "kind": kind,
        "file": file,
        "precision": precision,
        "accuracy": measured["accuracy"],
        "n_examples": measured["n_examples"],
        "split": measured["split"],
        "n_params": model["n_params"],
        "n_flops": {**model["n_flops"]},
    }
