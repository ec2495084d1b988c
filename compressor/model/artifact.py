"""The two kinds of artifact, with loading and saving at shrunk widths."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model as load_tensors_
from safetensors.torch import save_model as save_tensors
from transformers import PreTrainedModel

from compressor import surgery
from compressor.archs import Arch
from compressor.bench.result import Precision
from compressor.errors import InputError, first_line, unusable
from compressor.model import pretrained
from compressor.model.checkpoint import (
    Source,
    arch_of,
    fetch,
    fetch_processor,
    has_head,
    read_config,
)
from compressor.nets.tabular import Features
from compressor.surgery import Width
from compressor.tasks import Task, task_file, task_files


@dataclass
class Model:
    """A network, the file of its family, and its task."""

    net: PreTrainedModel
    arch: Arch
    task: Task

    def widths(self) -> list[Width]:
        """Every width of the network that can be cut: factorized layers must have an axis for its units."""
        return surgery.cuttable(self.net, self.arch.widths(self.net))

    @property
    def layers(self) -> tuple[int, ...]:
        """Indices of the kept layers within the original."""
        recorded = getattr(self.net.config, "compressor", None)
        return tuple(recorded["layers"] if recorded else range(len(self.arch.blocks(self.net))))

    @property
    def hidden(self) -> list[str]:
        """Paths of its blocks; without any, of the layers that write units of a width, as output layers do not."""
        blocks = self.arch.blocks(self.net)
        return blocks or [cut.module for width in self.arch.widths(self.net) for cut in width.producers]

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features of a table that are still read; empty for text and images."""
        names: tuple[str, ...] = getattr(self.net, "kept_features", ())
        return names

    def copy(self) -> "Model":
        """Copy the network; the rest is shared."""
        return replace(self, net=deepcopy(self.net))

    def sharing(self) -> "Model":
        """Copy the network, but for its matrices and kernels, which both then have; neither may write into them."""
        shared = {id(weights): weights for weights in self.net.parameters() if weights.ndim > 1}
        return replace(self, net=deepcopy(self.net, shared))

    def record(self, layers: Sequence[int]) -> None:
        """Record in the config the number of units of each width, and the layers kept from the original."""
        pretrained.record(self.net, {width.name: width.size for width in self.arch.widths(self.net)}, layers)


@dataclass(frozen=True)
class OnnxGraph:
    """An exported network: one ONNX file in a complete folder."""

    path: Path
    task: Task
    precision: Precision = "fp32"
    modules: Mapping[str, str] = field(default_factory=dict)
    """Path of the module that each operation computes, by its name; known only to who just exported the file."""


def load_model(source: Source, labels: Sequence[str] | None, features: Features | None = None) -> Model:
    """Load a checkpoint, or build its config with random weights.

    `labels` name the outputs of a new head, `features` are the inputs of a new network. Random weights come from
    torch's global generator, so seed it first.
    """
    folder = fetch(source)
    if folder is None:
        net = pretrained.new_net(source, labels, features)
    else:
        config = read_config(folder, source.trust_remote_code)
        net = pretrained.read_net(folder, config, source.task, labels, source.trust_remote_code)
        if hasattr(net.config, "compressor"):
            del net.config.compressor  # even if it was cut before, it is the original of this run
    return Model(net, arch_of(net.config.model_type), _task(source, net))


def save_model(model: Model, folder: Path) -> None:
    """Write a complete folder from which `open_model` and `load` restore the model to the bit."""
    model.record(model.layers)
    pretrained.write(model.net, model.task.processor, folder)


def open_model(folder: Path, task: Task) -> Model:
    """Load what `save_model` wrote, at its recorded widths."""
    config = read_config(folder)
    return Model(pretrained.read_net(folder, config, task.name), arch_of(config.model_type), task)


def open_task(folder: Path, task: Task) -> Task:
    """Return the same task with the tokenizer of another folder, in which the vocabulary was trimmed."""
    return replace(task, processor=pretrained.read_processor(folder, task.name))


def load(folder: str | Path) -> PreTrainedModel:
    """Load a network at the widths that this toolkit recorded in its config, ready for inference.

    Parameters
    ----------
    folder : path
        A folder ``model/`` of a run, or any local checkpoint of a supported family.

    Returns
    -------
    PreTrainedModel
        In evaluation mode, float32, on the CPU; saving it with ``save_pretrained`` and loading it again changes no bit.

    Raises
    ------
    InputError
        If the folder is missing, damaged, or has no network of a supported family.
    """
    folder = Path(folder)
    config = read_config(folder)
    task = next(
        (name for name in task_files() if has_head(config, name)), None
    )  # without one: a language model, for example
    net = pretrained.read_net(folder, config, task)
    net.eval()
    return net


def save_weights(net: PreTrainedModel, file: Path) -> None:
    """Write the weights alone; tensors that are tied are written once."""
    save_tensors(net, str(file))


def load_weights_(net: PreTrainedModel, file: Path) -> None:
    """Load the weights that `save_weights` wrote into a network of the same widths."""
    try:
        load_tensors_(net, file)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise InputError(f"{file}: not the weights of this network ({first_line(error)})") from error


def _task(source: Source, net: PreTrainedModel) -> Task:
    """Read the processor and the labels that belong to a network."""
    names: Any = net.config.id2label
    labels = tuple(names[index] for index in range(len(names)))
    inputs = task_file(source.task).INPUTS
    folder = fetch_processor(source)
    if folder is None:
        processor = inputs.new_processor(net.config)
    else:
        processor = pretrained.read_processor(folder, source.task, source.trust_remote_code)
    taken = set(signature(net.forward).parameters)
    with unusable(f"{folder}: its tokenizer or image processor is of no use"):
        inputs.agree_(net, processor, str(folder))
        if processor is not None:
            taken &= set(processor.model_input_names)
    names_taken = tuple(name for name in inputs.NAMES if name in taken)
    features = tuple(getattr(net.config, "feature_names", ()))
    is_double = getattr(net.config, "feature_origins", None) is not None
    return Task(source.task, labels, processor, names_taken, features, is_double)
