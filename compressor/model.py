"""The two kinds of artifact: loaded, saved, loaded back at shrunk widths, and asked for logits."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import onnxruntime
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model as load_tensors_
from safetensors.torch import save_model as save_tensors
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from compressor import pretrained
from compressor.checkpoint import (
    HEADS,
    Source,
    arch_of,
    digest,
    fetch,
    fetch_processor,
    has_head,
    is_fine_tuned,
    read_config,
)
from compressor.errors import InputError
from compressor.hub import first_line
from compressor.images import image_shape
from compressor.nets import Features
from compressor.surgery import Width

__all__ = [
    "OUTPUT_NAMES",
    "Logits",
    "Model",
    "OnnxGraph",
    "Outputs",
    "Source",
    "Task",
    "digest",
    "fetch",
    "flops_by_module",
    "image_shape",
    "is_fine_tuned",
    "load",
    "load_model",
    "load_weights_",
    "logits_of",
    "n_flops",
    "open_model",
    "open_task",
    "outputs_of",
    "save_model",
    "save_weights",
]

INPUT_NAMES = {
    "text-classification": ("input_ids", "attention_mask", "token_type_ids"),
    "image-classification": ("pixel_values",),
    "tabular-classification": ("features",),
}
OUTPUT_NAMES = ("logits", "reconstruction")  # what is proved, compared and exported, as far as a network gives it
Logits = Callable[[Mapping[str, Tensor]], Tensor]
Outputs = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class Task:
    """What a network does, with the words and the preprocessing that belong to it."""

    name: str
    labels: tuple[str, ...]
    processor: Any
    """Tokenizer or image processor; None for a table."""
    input_names: tuple[str, ...]
    """In this order: `input_ids, attention_mask, token_type_ids` as far as they are taken, or the only one."""
    features: tuple[str, ...] = ()
    """Names of the numbers in a row of a table, in order."""


@dataclass
class Model:
    """A network, the file that knows its family, and its task."""

    net: PreTrainedModel
    arch: ModuleType
    task: Task

    def widths(self) -> list[Width]:
        """Every width of the network that can be cut."""
        found: list[Width] = self.arch.widths(self.net)
        return found

    @property
    def layers(self) -> tuple[int, ...]:
        """Indices of the kept layers within the original."""
        recorded = getattr(self.net.config, "compressor", None)
        return tuple(recorded["layers"] if recorded else range(len(self.arch.blocks(self.net))))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features of a table that are still read; none of text and images."""
        found: tuple[str, ...] = getattr(self.net, "kept_features", ())
        return found

    def copy(self) -> "Model":
        """Copy the network; the rest is shared."""
        return replace(self, net=deepcopy(self.net))

    def record(self, layers: Sequence[int]) -> None:
        """Write into the config what is left: the unit count of each width, and which layers of the original."""
        pretrained.record(self.net, {width.name: width.size for width in self.widths()}, layers)


@dataclass(frozen=True)
class OnnxGraph:
    """An exported network: one ONNX file in a complete folder."""

    path: Path
    task: Task


def load_model(source: Source, labels: Sequence[str] | None, features: Features | None = None) -> Model:
    """Load a checkpoint, or build its config with random weights.

    `labels` name the outputs of a head that is new, `features` are the inputs of a network that is. What is random
    comes from torch's global generator, so seed that first.
    """
    folder = fetch(source)
    if folder is None:
        net = pretrained.new_net(source, labels, features)
    else:
        config = read_config(folder, source.trust_remote_code)
        net = pretrained.read_net(folder, config, source.task, labels, source.trust_remote_code)
        if hasattr(net.config, "compressor"):
            del net.config.compressor  # whatever was cut before: to this run the checkpoint is the original
    return Model(net, arch_of(net.config.model_type), _task(source, net))


def save_model(model: Model, folder: Path) -> None:
    """Write a complete folder that `open_model` and `load` read back to the bit."""
    model.record(model.layers)
    pretrained.write(model.net, model.task.processor, folder)


def open_model(folder: Path, task: Task) -> Model:
    """Load what `save_model` wrote, at its recorded widths."""
    config = read_config(folder)
    return Model(pretrained.read_net(folder, config, task.name), arch_of(config.model_type), task)


def open_task(folder: Path, task: Task) -> Task:
    """Give the same task with the tokenizer of another folder, where its vocabulary was trimmed."""
    return replace(task, processor=pretrained.read_processor(folder, task.name))


def load(folder: str | Path) -> PreTrainedModel:
    """Load a network at the widths that this toolkit recorded beside it, ready for inference.

    Parameters
    ----------
    folder : path
        What a run wrote as ``model/``, or any local checkpoint of a supported family.

    Returns
    -------
    PreTrainedModel
        In evaluation mode, float32, on the CPU; saving it with ``save_pretrained`` and loading it again changes no bit.

    Raises
    ------
    InputError
        If the folder is missing, damaged, or holds no network of a supported family.
    """
    folder = Path(folder)
    config = read_config(folder)
    task = next((name for name in HEADS if has_head(config, name)), None)  # without one: a language model, for example
    net = pretrained.read_net(folder, config, task)
    net.eval()
    return net


def save_weights(net: PreTrainedModel, file: Path) -> None:
    """Write the weights alone; tensors that are tied are written once."""
    save_tensors(net, str(file))


def load_weights_(net: PreTrainedModel, file: Path) -> None:
    """Read back what `save_weights` wrote, into a network of the same widths."""
    try:
        load_tensors_(net, file)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise InputError(f"{file}: not the weights of this network ({first_line(error)})") from error


def logits_of(artifact: Model | OnnxGraph, n_threads: int | None = None) -> Logits:
    """Give the function from inputs to logits; `n_threads` is for onnxruntime, torch keeps its own number."""
    outputs = outputs_of(artifact, n_threads)
    return lambda inputs: outputs(inputs)["logits"]


def outputs_of(artifact: Model | OnnxGraph, n_threads: int | None = None) -> Outputs:
    """Give the function from inputs to all that is answered: the logits, and the reconstruction of an autoencoder."""
    return _torch_outputs(artifact.net) if isinstance(artifact, Model) else _onnx_outputs(artifact.path, n_threads)


def n_flops(model: Model, batch_size: int, length: int) -> int:
    """Count the floating-point operations of one inference, two for each multiply-accumulate."""
    return flops_by_module(model.net, batch_size, length)[""]


@torch.enable_grad()  # without gradients torch 2.13's counter fails on a module that is given a parameter
def flops_by_module(net: PreTrainedModel, batch_size: int, length: int) -> dict[str, int]:
    """Count the floating-point operations of each module in one inference; those of all are at the empty path."""
    attention, was_training = net.config._attn_implementation, net.training
    net.set_attn_implementation("eager")  # torch 2.13 counts nothing inside the CPU's fused attention
    try:
        with FlopCounterMode(display=False) as counter:
            net.eval()(**{name: tensor.to(net.device) for name, tensor in _plain_inputs(net, batch_size, length)})
    finally:
        net.set_attn_implementation(attention)
        net.train(was_training)
    counts = {path.partition(".")[2]: sum(ops.values()) for path, ops in counter.get_flop_counts().items()}
    return {**counts, "": int(counter.get_total_flops())}


def _plain_inputs(net: PreTrainedModel, batch_size: int, length: int) -> Iterator[tuple[str, Tensor]]:
    """Yield valid inputs whose values do not matter."""
    if net.main_input_name == "features":
        yield "features", torch.zeros(batch_size, len(net.config.feature_names))
    elif net.main_input_name == "pixel_values":
        yield "pixel_values", torch.zeros(batch_size, *image_shape(net.config))
    else:
        ids = torch.ones(batch_size, length, dtype=torch.long)
        if net.config.is_encoder_decoder:
            ids[:, -1] = net.config.eos_token_id  # where a classifier reads
            yield "decoder_input_ids", ids
        yield "input_ids", ids


def _task(source: Source, net: PreTrainedModel) -> Task:
    """Read the processor and the words that go with a network."""
    names: Any = net.config.id2label
    labels = tuple(names[index] for index in range(len(names)))
    if source.task == "tabular-classification":
        return Task(source.task, labels, None, INPUT_NAMES[source.task], tuple(net.config.feature_names))
    folder = fetch_processor(source)
    if folder is None:
        processor = pretrained.new_image_processor(net.config)
    else:
        processor = pretrained.read_processor(folder, source.task, source.trust_remote_code)
    if source.task == "text-classification":
        if len(processor) > net.config.vocab_size:
            raise InputError(f"{folder}: {len(processor)} tokens for a network that knows {net.config.vocab_size}")
        most = getattr(net.config, "max_position_embeddings", processor.model_max_length)  # T5 knows no positions
        processor.model_max_length = min(processor.model_max_length, most)
        pretrained.add_padding_(net.config, processor)
    if source.task == "image-classification":
        pretrained.note_image_size_(net.config, processor)
    known = set(signature(net.forward).parameters).intersection(processor.model_input_names)
    return Task(source.task, labels, processor, tuple(name for name in INPUT_NAMES[source.task] if name in known))


def _torch_outputs(net: PreTrainedModel) -> Outputs:
    @torch.no_grad()
    def outputs(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        was_training = net.training
        net.eval()
        output: Any = net(**{name: tensor.to(net.device) for name, tensor in inputs.items() if name != "labels"})
        net.train(was_training)
        return {name: output[name].cpu() for name in OUTPUT_NAMES if name in output}

    return outputs


def _onnx_outputs(file: Path, n_threads: int | None) -> Outputs:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = n_threads or 0  # 0: as many as there are cores
    settings.log_severity_level = 3  # errors only
    try:
        session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base
        raise InputError(f"{file}: onnxruntime cannot open it ({first_line(error)})") from error
    names = [node.name for node in session.get_inputs()]
    wanted = [node.name for node in session.get_outputs() if node.name in OUTPUT_NAMES]

    def outputs(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = session.run(wanted, {name: inputs[name].numpy() for name in names})
        return {name: torch.from_numpy(values) for name, values in zip(wanted, found, strict=True)}

    return outputs
