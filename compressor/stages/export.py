"""Write the model as an ONNX file, and prove that onnxruntime computes the same logits."""

import copy
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from compressor.data import example_inputs
from compressor.errors import ParityError
from compressor.model import Model, OnnxGraph, logits_of
from compressor.options import Base
from compressor.train import Context

_OPSET = 23  # the first with an Attention operator; a family that needs another says so as OPSET in its file
_BATCH_SIZES = (1, 3)
_LENGTHS = (8, 32)


class Options(Base):
    """Recipe keys of the ``export`` stage."""

    stage: Literal["export"]
    opset: Literal["auto"] | Annotated[int, Field(ge=18, le=23)] = "auto"
    """`auto` is the fastest that the architecture runs correctly with; 18 to 22 are for older runtimes."""
    parity_atol: float = Field(default=1e-3, gt=0)
    """Largest difference allowed between a logit of onnxruntime and the same logit of torch."""


def run(model: Model, options: Options, context: Context) -> OnnxGraph:
    """Export with free batch size and length into a complete folder: graph, configuration, tokenizer.

    Nothing takes its final name before the logits agree, so a failed export leaves an earlier one as it was.
    """
    opset = getattr(model.arch, "OPSET", _OPSET) if options.opset == "auto" else options.opset
    attention = "sdpa" if opset >= 23 else "eager"  # before Attention existed, sdpa became guards against NaN
    inputs_of = _inputs(model, context.seed)
    with TemporaryDirectory(dir=context.folder, prefix="export-") as name:
        beside = Path(name)
        graph = OnnxGraph(beside / "model.onnx", model.task)
        program = _trace(model, opset, attention, inputs_of(2, 6))
        _describe(program, context.metadata)
        program.save(graph.path)
        checks = _checks(logits_of(model), logits_of(graph), inputs_of)
        gap = _largest(checks, options.parity_atol)
        parity = {"opset": opset, "attention": attention, "max_abs_diff": gap, "checks": checks}
        (beside / "parity.json").write_text(json.dumps(parity, indent=2) + "\n")
        model.net.config.save_pretrained(beside)
        model.task.processor.save_pretrained(beside)
        for file in sorted(beside.iterdir(), reverse=True):  # the weights of a large model before its graph
            file.replace(context.folder / file.name)
    context.log(opset=opset, max_abs_diff=gap)
    return OnnxGraph(context.folder / "model.onnx", model.task)


def _inputs(model: Model, seed: int) -> Callable[[int, int], dict[str, Tensor]]:
    """Make random inputs of any batch size and length; the second half of the last of several rows is padding."""

    def make(batch_size: int, length: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        inputs = example_inputs(model.task, model.net.config, batch_size, length, generator)
        if batch_size > 1 and "attention_mask" in inputs:
            inputs["attention_mask"][-1, length // 2 :] = 0
        return inputs

    return make


def _trace(model: Model, opset: int, attention: str, example: dict[str, Tensor]) -> torch.onnx.ONNXProgram:
    """Trace a copy of the net on the CPU: the caller's keeps its training flag and its attention."""
    net = copy.deepcopy(model.net).cpu().eval()
    net.set_attn_implementation(attention)
    with _silence():
        program = torch.onnx.export(
            net,
            kwargs=example,
            input_names=list(example),
            output_names=["logits"],
            dynamic_shapes={name: _axes(values) for name, values in example.items()},
            opset_version=opset,
            verbose=False,
        )
    assert program is not None  # None comes only from the exporter before dynamo
    return program


def _axes(values: Tensor) -> dict[int, str]:
    """Name the free axes of an input: tokens, which are whole numbers, vary in number; pixels do not."""
    return {0: "batch"} if values.is_floating_point() else {0: "batch", 1: "length"}


@contextmanager
def _silence() -> Iterator[None]:
    """Keep back the exporter's remarks on packages that are missing and axes that were merged."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _describe(program: torch.onnx.ONNXProgram, metadata: Mapping[str, str]) -> None:
    """Write where the graph comes from, in place of the paths on this machine that torch notes at every operator."""
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()
    program.model.metadata_props.update(metadata)


def _checks(
    torch_logits: Callable[[Mapping[str, Tensor]], Tensor],
    onnx_logits: Callable[[Mapping[str, Tensor]], Tensor],
    inputs_of: Callable[[int, int], dict[str, Tensor]],
) -> list[dict[str, Any]]:
    """Compare the two runtimes at each batch size and length."""
    checks = []
    for batch_size, length in product(_BATCH_SIZES, _LENGTHS):
        inputs = inputs_of(batch_size, length)
        gap = (torch_logits(inputs).cpu() - onnx_logits(inputs)).abs().max()
        checks.append({"batch_size": batch_size, "length": length, "max_abs_diff": float(gap)})
    return checks


def _largest(checks: list[dict[str, Any]], atol: float) -> float:
    """Give the largest difference; refuse it beyond the tolerance, and NaN too."""
    for check in checks:
        if not check["max_abs_diff"] <= atol:
            at = f"batch size {check['batch_size']}, length {check['length']}"
            raise ParityError(
                f"export: onnxruntime and torch differ by {check['max_abs_diff']:.3g} at {at}, more than"
                f" parity_atol {atol:g}; try 'opset: 18', or raise 'parity_atol' if the accuracy is right"
            )
    return max(check["max_abs_diff"] for check in checks)
