"""The outputs of a network or an ONNX file for a batch, and the number of operations that they take."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from compressor.errors import InputError, first_line
from compressor.model.artifact import Model, OnnxGraph
from compressor.surgery.twin import twin
from compressor.tasks import inputs_of

_PROBE_SHAPE = (8, 24)  # batch size and length: some padding, several lengths, and milliseconds for most networks


class UnrunnableError(InputError):
    """onnxruntime opens a file and fails while it runs."""


Logits = Callable[[Mapping[str, Tensor]], Tensor]
Outputs = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def logits_of(artifact: Model | OnnxGraph, n_threads: int | None = None) -> Logits:
    """Return the function from inputs to logits; `n_threads` is for onnxruntime, torch keeps its own number."""
    outputs = outputs_of(artifact, n_threads)
    scored = artifact.task.file.OUTPUT_NAMES[0]
    return lambda inputs: outputs(inputs)[scored]


def outputs_of(artifact: Model | OnnxGraph, n_threads: int | None = None) -> Outputs:
    """Return the function from inputs to all outputs: the logits, and the reconstruction of an autoencoder."""
    names = artifact.task.file.OUTPUT_NAMES
    if isinstance(artifact, Model):
        return _torch_outputs(artifact.net, names)
    return _onnx_outputs(artifact.path, names, n_threads)


def probe_of(model: Model, seed: int) -> dict[str, Tensor]:
    """Make the random inputs on which a stage proves that removing something did not change the outputs."""
    generator = torch.Generator().manual_seed(seed)
    return model.task.inputs.example(model.task, model.net.config, *_PROBE_SHAPE, generator)


def n_flops(model: Model, batch_size: int, length: int) -> int:
    """Count the floating-point operations of one inference, two for each multiply-accumulate."""
    return flops_by_module(model.net, batch_size, length)[""]


@torch.enable_grad()  # without gradients torch 2.13's counter fails on a module that is given a parameter
def flops_by_module(net: PreTrainedModel, batch_size: int, length: int) -> dict[str, int]:
    """Count the floating-point operations of each module in one inference; the total is at the empty path."""
    counted = twin(net).eval()
    counted.set_attn_implementation("eager")  # torch 2.13 counts nothing inside the CPU's fused attention
    with FlopCounterMode(display=False) as counter:
        inputs = inputs_of(net.main_input_name).plain(net.config, batch_size, length)
        counted(**{name: tensor.to(net.device) for name, tensor in inputs.items()})
    counts = {path.partition(".")[2]: sum(ops.values()) for path, ops in counter.get_flop_counts().items()}
    return {**counts, "": int(counter.get_total_flops())}


def _torch_outputs(net: PreTrainedModel, names: Sequence[str]) -> Outputs:
    @torch.no_grad()
    def outputs(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        was_training = net.training
        net.eval()
        output: Any = net(**{name: tensor.to(net.device) for name, tensor in inputs.items() if name != "labels"})
        net.train(was_training)
        return {name: output[name].cpu() for name in names if name in output}

    return outputs


def _onnx_outputs(file: Path, output_names: Sequence[str], n_threads: int | None) -> Outputs:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = n_threads or 0  # 0: as many as there are cores
    settings.log_severity_level = 4  # errors are raised
    try:
        session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base
        raise InputError(f"{file}: onnxruntime cannot open it ({first_line(error)})") from error
    names = [node.name for node in session.get_inputs()]
    wanted = [node.name for node in session.get_outputs() if node.name in output_names]

    def outputs(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        try:
            arrays = session.run(wanted, {name: inputs[name].numpy() for name in names})
        except Exception as error:
            raise UnrunnableError(first_line(error)) from error
        return {name: torch.from_numpy(array) for name, array in zip(wanted, arrays, strict=True)}

    return outputs
