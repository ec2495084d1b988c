"""The two kinds of artifact, and how a network is found, loaded, saved, and loaded back at shrunk widths."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
import transformers
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from pydantic import model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model as load_tensors_
from safetensors.torch import save_model as save_tensors
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING

from compressor import archs, surgery
from compressor.errors import InputError
from compressor.options import Base
from compressor.plugins import discover
from compressor.surgery import Width

TaskName = Literal["text-classification", "image-classification"]
AUTO_CLASSES = {
    "text-classification": transformers.AutoModelForSequenceClassification,
    "image-classification": transformers.AutoModelForImageClassification,
}
HEADS = {"text-classification": "ForSequenceClassification", "image-classification": "ForImageClassification"}
INPUT_NAMES = {
    "text-classification": ("input_ids", "attention_mask", "token_type_ids"),
    "image-classification": ("pixel_values",),
}
CHECKPOINT_FILES = ("model*.safetensors", "*.json", "*.txt", "*.model")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.msgpack")
FORMAT = 1  # of the `compressor` block in config.json


class Source(Base):
    """Recipe key `model`: a checkpoint, or a config to start from with random weights."""

    checkpoint: str | None = None
    """Hub id or local folder; safetensors only."""
    config: dict[str, Any] | None = None
    """In place of `checkpoint`: `model_type` and what differs from its defaults; the weights are random."""
    processor: str | None = None
    """Hub id or local folder of the tokenizer or image processor that goes with `config`."""
    revision: str = "main"
    """Branch, tag or commit on the Hub."""
    task: TaskName
    """What the network does."""
    trust_remote_code: bool = False
    """Run Python code that the checkpoint brings; never on by itself."""

    @model_validator(mode="after")
    def _one_start(self) -> "Source":
        if (self.checkpoint is None) == (self.config is None):
            raise ValueError("give either 'checkpoint' or 'config'")
        if self.config is not None and "model_type" not in self.config:
            raise ValueError("'config' needs a 'model_type', such as 'vit'")
        if self.checkpoint is not None and self.processor is not None:
            raise ValueError("'processor' goes with 'config'; a checkpoint brings its own")
        if self.config is not None and self.processor is None and self.task == "text-classification":
            raise ValueError("'config' of a text model needs a 'processor': the tokenizer's hub id or folder")
        return self


@dataclass(frozen=True)
class Task:
    """What a network does, with the words and the preprocessing that belong to it."""

    name: str
    labels: tuple[str, ...]
    processor: Any
    """Tokenizer or image processor."""
    input_names: tuple[str, ...]
    """`input_ids, attention_mask, token_type_ids` as far as the network takes them, or `pixel_values`; in this order."""


@dataclass
class Model:
    """A network with what is known about it."""

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


@dataclass(frozen=True)
class OnnxGraph:
    """An exported network: one ONNX file in a complete folder."""

    path: Path
    task: Task


def fetch(source: Source) -> Path | None:
    """Local folder of the checkpoint; None when the recipe starts from a config."""
    return None if source.checkpoint is None else _folder("model.checkpoint", source.checkpoint, source.revision)


def digest(source: Source) -> str:
    """Hash of the content that a model is made of: no path or date enters it."""
    content = hashlib.sha256(json.dumps(source.config, sort_keys=True).encode())
    for folder in filter(None, (fetch(source), _processor_folder(source))):
        for file in sorted({file for pattern in CHECKPOINT_FILES for file in folder.glob(pattern)}):
            content.update(file.name.encode())
            with file.open("rb") as stream:
                content.update(hashlib.file_digest(stream, "sha256").digest())
    return content.hexdigest()


def is_fine_tuned(source: Source) -> bool:
    """Whether the checkpoint brings a classification head of the task."""
    folder = fetch(source)
    return folder is not None and _has_head(_config(folder, source.trust_remote_code), source.task)


def load_model(source: Source, labels: Sequence[str] | None) -> Model:
    """Load a checkpoint, or build its config with random weights; `labels` name the outputs of a new head."""
    folder = fetch(source)
    with _quiet():
        if folder is None:
            config = _config_from(source.config or {})
            net = _build(config, source, labels)
        else:
            config = _config(folder, source.trust_remote_code)
            net = _read_net(folder, config, source.task, labels, trust_remote_code=source.trust_remote_code)
        processor = _processor(folder or _processor_folder(source), source, net.config)
    return Model(net, _arch(net.config), _task(source.task, net, processor))


def save_model(model: Model, folder: Path) -> None:
    """Write a complete folder: weights, config with the width of every layer, and the processor."""
    widths = {width.name: width.size for width in model.widths()}
    model.net.config.compressor = {"format": FORMAT, "widths": widths, "layers": list(model.layers)}
    with _quiet():
        model.net.save_pretrained(folder)
        model.task.processor.save_pretrained(folder)


def open_model(folder: Path, task: Task) -> Model:
    """Load what `save_model` wrote, at its recorded widths."""
    config = _config(folder)
    with _quiet():
        return Model(_read_net(folder, config, task.name), _arch(config), task)


def load(folder: str | Path) -> PreTrainedModel:
    """Load a network that this toolkit saved, at its recorded widths, ready for inference."""
    folder = Path(folder)
    config = _config(folder)
    task = next((name for name in HEADS if _has_head(config, name)), None)
    if task is None:
        raise InputError(f"{folder}: not a classifier, its architecture is {config.architectures!r}")
    with _quiet():
        return _read_net(folder, config, task).eval()


def save_weights(net: PreTrainedModel, file: Path) -> None:
    """Write the weights alone; tensors that are tied go once."""
    save_tensors(net, str(file))


def load_weights_(net: PreTrainedModel, file: Path) -> None:
    """Read back what `save_weights` wrote, into a network of the same widths."""
    try:
        load_tensors_(net, file)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise InputError(f"{file}: not the weights of this network ({_first_line(error)})") from error


def logits_of(artifact: Model | OnnxGraph, n_threads: int | None = None) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """Give the function from a batch to its logits; `n_threads` is onnxruntime's, torch has its own setting."""
    return _torch_logits(artifact.net) if isinstance(artifact, Model) else _onnx_logits(artifact, n_threads)


def n_flops(model: Model, batch_size: int, length: int) -> int:
    """Floating-point operations of one inference, two for each multiply-accumulate."""
    config = model.net.config
    if model.task.name == "text-classification":
        inputs = {"input_ids": torch.ones(batch_size, length, dtype=torch.long)}
    else:
        inputs = {"pixel_values": torch.zeros(batch_size, config.num_channels, config.image_size, config.image_size)}
    attention = config._attn_implementation
    model.net.set_attn_implementation("eager")  # torch 2.13 counts no FLOPs inside the CPU's fused attention
    try:
        with FlopCounterMode(display=False) as counter:
            _torch_logits(model.net)(inputs)
    finally:
        model.net.set_attn_implementation(attention)
    return int(counter.get_total_flops())


def _folder(place: str, name: str, revision: str) -> Path:
    """Local folder under that name, or the Hub's copy of it without anything that holds a pickle."""
    local = Path(name).expanduser()
    if local.is_dir():
        return local
    if local.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"{place}: no such folder, got {name!r}; give a local folder or a hub id")
    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=list(CHECKPOINT_FILES), ignore_patterns="*/*")
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise InputError(
            f"{place}: neither a local folder nor reachable at {constants.ENDPOINT}, got {name!r} ({_first_line(error)}); "
            "give a local folder, set HF_ENDPOINT to a mirror, "
            "or try the quick start, which needs no network: compress --recipe digits_l1inf.yaml"
        ) from error


def _processor_folder(source: Source) -> Path | None:
    return None if source.processor is None else _folder("model.processor", source.processor, source.revision)


def _config(folder: Path, trust_remote_code: bool = False) -> PreTrainedConfig:
    """Read config.json and check that the family is supported."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: no config.json there; give the folder of a checkpoint")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"{folder}: config.json cannot be used ({_first_line(error)})") from error
    _arch(config)
    return config


def _config_from(settings: Mapping[str, Any]) -> PreTrainedConfig:
    model_type = settings["model_type"]
    try:
        default = AutoConfig.for_model(model_type)
    except ValueError as error:
        raise InputError(f"model.config.model_type: unknown to transformers, got {model_type!r}") from error
    _arch(default)
    if unknown := [key for key in settings if not hasattr(default, key)]:
        raise InputError(f"model.config: {type(default).__name__} has no {unknown[0]!r}")
    return AutoConfig.for_model(**settings)


def _arch(config: PreTrainedConfig) -> ModuleType:
    families = {family: arch for arch in discover(archs).values() for family in arch.MODEL_TYPES}
    if config.model_type not in families:
        raise InputError(
            f"model: no file in compressor/archs for the family {config.model_type!r}; "
            f"choose a checkpoint of {', '.join(sorted(families))}"
        )
    return families[config.model_type]


def _has_head(config: PreTrainedConfig, task: str) -> bool:
    return any(HEADS[task] in name for name in config.architectures or ())


def _build(config: PreTrainedConfig, source: Source, labels: Sequence[str] | None) -> PreTrainedModel:
    _name_outputs_(config, labels)
    net: PreTrainedModel = AUTO_CLASSES[source.task].from_config(config, dtype=torch.float32)
    return net


def _name_outputs_(config: PreTrainedConfig, labels: Sequence[str] | None) -> None:
    if not labels:
        raise InputError("model: a new classification head needs labels, and the dataset names none")
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}


def _read_net(
    folder: Path,
    config: PreTrainedConfig,
    task: str,
    labels: Sequence[str] | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Load the weights into the class that the config names, cut to the recorded widths."""
    _check_weights(folder)
    has_head = _has_head(config, task)
    if not has_head:
        _name_outputs_(config, labels)
    try:
        with torch.device("meta"):
            original = type(AUTO_CLASSES[task].from_config(config, trust_remote_code=trust_remote_code))
        net, info = _sized(original, config).from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (ValueError, RuntimeError, OSError) as error:
        raise InputError(f"{folder}: the weights do not fit config.json ({_first_line(error)})") from error
    prefix = f"{net.base_model_prefix}."
    missing = [key for key in info["missing_keys"] if has_head or (key.startswith(prefix) and "pooler" not in key)]
    if missing:
        raise InputError(f"{folder}: the checkpoint lacks {len(missing)} tensors, among them {min(missing)!r}")
    return net


def _sized(original: type[PreTrainedModel], config: PreTrainedConfig) -> type[PreTrainedModel]:
    """Subclass of the same name that is born with the recorded widths; the original where none are recorded."""
    recorded = getattr(config, "compressor", None)
    if recorded is None:
        return original
    if recorded["format"] != FORMAT:
        raise ValueError(f"written by another version of compressor, format {recorded['format']}")

    def __init__(self: PreTrainedModel, config: PreTrainedConfig, *args: Any, **kwargs: Any) -> None:
        original.__init__(self, config, *args, **kwargs)
        surgery.resize_(self, _arch(config), recorded["widths"])

    return type(original.__name__, (original,), {"__init__": __init__, "__module__": original.__module__})


def _check_weights(folder: Path) -> None:
    """Refuse a folder without whole safetensors; nothing else is ever opened."""
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
        found = f"only {pickles[0]!r}, which is never opened; convert it to safetensors" if pickles else "no weights"
        raise InputError(f"{folder}: no model.safetensors there, found {found}")
    for file in files:
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file}: damaged or truncated ({_first_line(error)}); fetch it again") from error


def _processor(folder: Path | None, source: Source, config: PreTrainedConfig) -> Any:
    if folder is None:
        return _image_processor_for(config)
    auto = AutoTokenizer if source.task == "text-classification" else AutoImageProcessor
    try:
        return auto.from_pretrained(folder, local_files_only=True, trust_remote_code=source.trust_remote_code)
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"{folder}: no usable tokenizer or image processor ({_first_line(error)})") from error


def _image_processor_for(config: PreTrainedConfig) -> Any:
    """Build the family's image processor for the size and channels that a config gives."""
    processor_class = IMAGE_PROCESSOR_MAPPING[type(config)]["pil"]
    half = [0.5] * config.num_channels
    return processor_class(
        size={"height": config.image_size, "width": config.image_size}, image_mean=half, image_std=half
    )


def _task(name: str, net: PreTrainedModel, processor: Any) -> Task:
    labels = tuple(net.config.id2label[index] for index in range(net.config.num_labels))
    input_names = tuple(name_ for name_ in INPUT_NAMES[name] if name_ in processor.model_input_names)
    return Task(name, labels, processor, input_names)


def _torch_logits(net: PreTrainedModel) -> Callable[[Mapping[str, Tensor]], Tensor]:
    @torch.no_grad()
    def logits(inputs: Mapping[str, Tensor]) -> Tensor:
        was_training = net.training
        net.eval()
        found: Tensor = net(
            **{name: tensor.to(net.device) for name, tensor in inputs.items() if name != "labels"}
        ).logits
        net.train(was_training)
        return found.cpu()

    return logits


def _onnx_logits(graph: OnnxGraph, n_threads: int | None) -> Callable[[Mapping[str, Tensor]], Tensor]:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = n_threads or 0  # 0: onnxruntime chooses
    session = onnxruntime.InferenceSession(graph.path, settings, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def logits(inputs: Mapping[str, Tensor]) -> Tensor:
        return torch.from_numpy(session.run(["logits"], {name: inputs[name].numpy() for name in names})[0])

    return logits


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' bars and remarks off; what matters in them is checked and raised here."""
    chatter = transformers.utils.logging
    verbosity, has_bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(verbosity)
        if has_bars:
            chatter.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return re.split(r"\n|\. ", str(error).strip())[0] or type(error).__name__
