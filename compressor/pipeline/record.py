"""The facts recorded about an artifact: its size, FLOPs, sparsity and measured accuracy."""

from collections.abc import Iterator
from typing import Any

from compressor import surgery
from compressor.data.batches import metrics
from compressor.model.artifact import Model, OnnxGraph
from compressor.model.outputs import logits_of, n_flops
from compressor.recipe.schema import Bench
from compressor.training.context import Context

Facts = dict[str, Any]


def facts_of(model: Model, bench: Bench) -> Facts:
    """Size, FLOPs and sparsity of a model."""
    weights = list(model.net.parameters())
    n_params = surgery.n_params(model.net)
    counted = [width for width in model.widths() if not width.crosses]
    return {
        "n_params": n_params,
        "n_flops": {name: n_flops(model, *shape) for name, shape in _shapes(model, bench)},
        "sparsity": sum(int((tensor == 0).sum()) for tensor in weights) / n_params,
        "column_sparsity": surgery.column_sparsity(model.net, counted),
        "size_bytes": sum(tensor.nbytes for tensor in weights),
        "widths": n_units(model),
        "layers": list(model.layers),
        "features": list(model.features),
    }


def n_units(model: Model) -> dict[str, int]:
    """Units of each width, and the tokens of a vocabulary, which `trim_vocabulary` removes."""
    return {width.name: width.size for width in model.widths()} | model.task.inputs.sizes(model.net.config)


def _shapes(model: Model, bench: Bench) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the shapes at which the files are measured, under the bench's names."""
    for batch_size in bench.batch_sizes:
        if model.task.inputs.HAS_LENGTH:
            yield from ((f"{batch_size}x{length}", (batch_size, length)) for length in bench.lengths)
        else:
            yield str(batch_size), (batch_size, 0)


def onnx_facts(graph: OnnxGraph, before: Facts, context: Context) -> Facts:
    """Facts of an exported file; parameters, FLOPs and widths are those of the exported model."""
    inherited = {
        name: before[name]
        for name in ("n_params", "n_flops", "sparsity", "column_sparsity", "widths", "layers", "features")
    }
    file = f"{context.folder.name}/{graph.path.name}"
    return {**inherited, "file": file, **context.trainer.evaluate(graph), **measured(graph, context)}


def measured(graph: OnnxGraph, context: Context) -> Facts:
    """Accuracy of the file itself on the reported split.

    One example at a time, as it will be used: dynamic quantization has one scale for a whole batch, so that other
    examples and padding would change the output.
    """
    report = context.data.for_task(graph.task).report
    scores = metrics(graph.task, logits_of(graph), report, batch_size=1)
    files = [graph.path, *graph.path.parent.glob(f"{graph.path.name}.data")]
    return {
        **scores,
        "n_examples": len(report),
        "split": context.data.report_name,
        "size_bytes": sum(file.stat().st_size for file in files),
    }


def variant(file: str, kind: str, is_quantized: bool, facts: Facts) -> Facts:
    """Entry of the bench plan."""
    name = f"{'original' if kind == 'original' else 'compressed'} {'int8' if is_quantized else 'fp32'}"
    copied = {key: facts[key] for key in ("accuracy", "n_examples", "split", "n_params", "n_flops")}
    return {"name": name, "kind": kind, "file": file, "quantized": is_quantized, **copied}
