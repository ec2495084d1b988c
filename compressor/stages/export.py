"""Write the model as an ONNX file, and check that onnxruntime computes the same logits."""

import ast
import math
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from onnxscript import ir
from pydantic import Field
from torch import Tensor
from torch.onnx import OnnxExporterError, ONNXProgram
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import bidirectional_mask_function, sdpa_mask
from transformers.utils.generic import ModelOutput

from compressor.archs import opsets_of
from compressor.errors import InputError, ParityError, first_line
from compressor.files import explained, replacing
from compressor.graphs import manifest
from compressor.graphs.inline import inline_
from compressor.graphs.rewrite import rewrite_
from compressor.model.artifact import Model, OnnxGraph
from compressor.model.lengths import LONGEST
from compressor.model.outputs import UnrunnableError, outputs_of
from compressor.model.padding import rows_alone
from compressor.model.quiet import exporter_quiet
from compressor.nets.compat import supports_sdpa
from compressor.rundir import Parity, ParityCheck, write_parity
from compressor.training.context import Context
from compressor.training.options import StageOptions

_ATTENTION = "sdpa_for_onnx"  # transformers' sdpa with a leaner mask, registered below
_SCOPES = "pkg.torch.onnx.name_scopes"  # key of what torch 2.13 notes at each operation
_BATCH_SIZES = (1, 3)
_LENGTHS = (8, 32)
_MOST_BYTES = 2**31 - 2**20  # a protobuf file must be smaller than 2 GiB, graph included


class Options(StageOptions):
    """Recipe keys of the `export` stage."""

    stage: Literal["export"]
    opset: Literal["auto"] | Annotated[int, Field(ge=18, le=23)] = "auto"
    """`auto` is the fastest opset with which the architecture runs correctly; 18 to 22 are for older runtimes."""
    parity_atol: float = Field(default=1e-3, gt=0)
    """Largest allowed difference between a logit from onnxruntime and the same logit from torch."""


def run(model: Model, options: Options, context: Context) -> OnnxGraph:
    """Export with free batch size and length, into a complete folder: graph, configuration, tokenizer.

    The file gets its final name only after the logits agree, so a failed export leaves an earlier file unchanged.
    """
    opsets = opsets_of(model.arch) if options.opset == "auto" else (options.opset,)
    for opset in opsets[:-1]:
        try:
            return _export(model, opset, options.parity_atol, context)
        except (InputError, ParityError) as error:
            context.journal.log(opset_refused=opset, reason=first_line(error))
    try:
        return _export(model, opsets[-1], options.parity_atol, context)
    except UnrunnableError as error:
        what = f"onnxruntime does not run {type(model.net).__name__} at opset {opsets[-1]} ({error})"
        raise InputError(f"export: {what}; try another opset, or leave the stage out") from error


def _export(model: Model, opset: int, parity_atol: float, context: Context) -> OnnxGraph:
    has_operator = opset >= 23 and supports_sdpa(model.net)  # without it sdpa exports guards, slower than eager
    attention = _ATTENTION if has_operator else "eager"
    net, example = _for_tracing(model, attention), _inputs(model, 2, 6, context.seed)
    output = _output(net, example)
    path = context.folder / "model.onnx"
    with replacing(path) as beside:
        output_names = [name for name in model.task.file.OUTPUT_NAMES if name in output]
        program = _trace(net, opset, example, output_names, model.task.inputs.FREE_AXES)
        modules = _modules(program.model)
        rewrite_(program.model)
        program.model.metadata_props.update(context.metadata)
        _save(program.model, beside, f"{path.name}.data")
        del program  # it has weights of its own, transposed
        checks = _checks(model, OnnxGraph(beside, model.task), context.seed)
        gap = _largest(checks, parity_atol)
    with explained(context.folder):
        model.net.config.save_pretrained(context.folder)
        if model.task.processor is not None:
            model.task.processor.save_pretrained(context.folder)
    manifest.write(path, net, example, output, {"dynamic": True, "opset_version": opset})
    parity: Parity = {"opset": opset, "attention": attention, "max_abs_diff": gap, "checks": checks}
    write_parity(context.folder, parity)
    context.journal.log(opset=opset, max_abs_diff=gap)
    return OnnxGraph(path, model.task, modules=modules)


def _inputs(model: Model, batch_size: int, length: int, seed: int) -> dict[str, Tensor]:
    """Make random inputs; some rows are padded if there are several."""
    generator = torch.Generator().manual_seed(seed)
    return model.task.inputs.example(model.task, model.net.config, batch_size, length, generator)


def _for_tracing(model: Model, attention: str) -> PreTrainedModel:
    """Copy the net, but for its weights, so that the caller's keeps its training flag and its attention."""
    net = model.sharing().net.cpu()
    net.train(False)
    net.set_attn_implementation(attention)
    for module in net.modules():
        if isinstance(module, PreTrainedModel):
            module.config.use_cache = False  # torch cannot export the cached keys and values of decoders
    return net


@torch.no_grad()
def _output(net: PreTrainedModel, example: dict[str, Tensor]) -> ModelOutput:
    """Run the net once, for the names and the order of its outputs."""
    output: ModelOutput = net(**example)
    return output


def _trace(
    net: PreTrainedModel, opset: int, example: dict[str, Tensor], output_names: list[str], free_axes: dict[int, str]
) -> ONNXProgram:
    """Turn the net into a graph with free axes; its first outputs get the given names."""
    with exporter_quiet():
        try:
            program = torch.onnx.export(
                net,
                kwargs=example,
                input_names=list(example),
                output_names=output_names,
                dynamic_shapes=dict.fromkeys(example, free_axes),
                opset_version=opset,
                verbose=False,
            )
        except OnnxExporterError as error:
            reason = first_line(error.__cause__ or error)  # torch's own first line only explains how to report it
            raise InputError(f"export: torch cannot export {type(net).__name__} at opset {opset} ({reason})") from error
    assert program is not None  # only torch's old exporter returns None
    return program


def _modules(model: ir.Model) -> dict[str, str]:
    """Read which module each operation computes: torch notes the modules that it is in, and its own name last."""
    scopes = {node.name or "": node.metadata_props.get(_SCOPES) for node in model.graph}
    return {name: ast.literal_eval(noted)[-2] for name, noted in scopes.items() if noted}


def _mask(*, mask_function: Any, attention_mask: Tensor | None, q_length: int, **settings: Any) -> Tensor | None:
    """Mask padding with few operators; transformers' own mask takes 20, as it serves causal and other masks too.

    The mask is expanded over the queries because onnxruntime's Attention does not broadcast that axis.
    """
    if mask_function is not bidirectional_mask_function or attention_mask is None:
        return sdpa_mask(mask_function=mask_function, attention_mask=attention_mask, q_length=q_length, **settings)
    return attention_mask[:, None, None].expand(-1, -1, q_length, -1)


AttentionInterface.register(_ATTENTION, sdpa_attention_forward)
AttentionMaskInterface.register(_ATTENTION, _mask)


def _save(model: ir.Model, path: Path, weights_name: str) -> None:
    """Write one file; the weights stay in a second one only if they are too large for the first."""
    n_bytes = sum(weights.const_value.nbytes for weights in model.graph.initializers.values() if weights.const_value)
    if n_bytes > _MOST_BYTES:
        ir.save(model, path, external_data=weights_name)
        return
    weights = path.with_name(f"{path.name}.weights")
    try:
        ir.save(model, path, external_data=weights.name)
        if weights.exists():  # a network of a few numbers has no tensor that would go there
            inline_(path, weights)
    finally:
        weights.unlink(missing_ok=True)  # where the disk filled up


def _checks(model: Model, graph: OnnxGraph, seed: int) -> list[ParityCheck]:
    """Compare torch with onnxruntime at each batch size and length, and texts alone that were in a padded batch.

    The longest text that the network reads comes last: a network may choose its attention by the length, and a file
    has the one of the length at which it was traced.
    """
    expected, actual = outputs_of(model), outputs_of(graph)
    checks: list[ParityCheck] = []
    for batch_size, length in product(_BATCH_SIZES, _LENGTHS):
        inputs = _inputs(model, batch_size, length, seed)
        gap = _gap(expected(inputs), actual(inputs))
        checks.append({"batch_size": batch_size, "length": length, "max_abs_diff": gap})
    if model.task.inputs.HAS_LENGTH:  # the padded texts of the largest batch once more, alone
        for row in (*rows_alone(inputs), _inputs(model, 1, LONGEST, seed)):
            gap = _gap(expected(row), actual(row))
            checks.append({"batch_size": 1, "length": row["input_ids"].shape[1], "max_abs_diff": gap})
    return checks


def _gap(expected: dict[str, Tensor], actual: dict[str, Tensor]) -> float:
    """Largest absolute difference of the outputs; relative for a reconstruction, which has the table's units."""
    gaps = {name: float((values - actual[name]).abs().max()) for name, values in expected.items()}
    if "reconstruction" in gaps:
        gaps["reconstruction"] /= float(expected["reconstruction"].abs().max())
    return max(gaps.values(), key=lambda gap: (math.isnan(gap), gap))


def _largest(checks: list[ParityCheck], atol: float) -> float:
    """Return the largest difference; raise if one exceeds the tolerance or is not a number."""
    for check in checks:
        if not check["max_abs_diff"] <= atol:
            is_longest = check is checks[-1] and check["length"] > max(_LENGTHS)
            hint = (
                "lower data.max_length if it computes otherwise at such lengths" if is_longest else "try another opset"
            )
            raise ParityError(
                f"export: logits of onnxruntime and torch differ by {check['max_abs_diff']:.3g} at batch size "
                f"{check['batch_size']}, length {check['length']}, more than parity_atol {atol:g}; {hint}"
            )
    return max(check["max_abs_diff"] for check in checks)
