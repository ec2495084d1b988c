"""Build, load and save networks and processors with transformers, at the recorded widths."""

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from compressor import surgery
from compressor.errors import InputError, unusable
from compressor.inputs import image
from compressor.model import foreign, sane, unused
from compressor.model.checkpoint import Source, arch_of, check_weights, has_head, require_family
from compressor.model.quiet import transformers_quiet
from compressor.nets import tabular
from compressor.nets.tabular import Features
from compressor.tasks import auto_class, task_file

DATASETS_OWN = (
    "id2label",
    "label2id",
    "num_labels",
    "feature_names",
    "feature_means",
    "feature_stds",
    "feature_origins",
)


@transformers_quiet()
def new_net(source: Source, labels: Sequence[str] | None, features: Features | None = None) -> PreTrainedModel:
    """Build the network of a config with random weights."""
    tabular.register()
    settings = dict(source.config or {})
    require_family(settings["model_type"])
    foreign.check_settings("model.config", settings)
    sane.check("model.config", settings)
    known = AutoConfig.for_model(settings["model_type"])
    for key in settings:
        if key in DATASETS_OWN or not (hasattr(known, key) or key == image.SIZE):
            what = "labels and features come from the dataset"
            raise InputError(f"model.config: {key!r} is not a setting of {type(known).__name__}; {what}")
    with unusable("model.config: cannot be built"):
        config = AutoConfig.for_model(**settings)
        config.architectures = config.architectures or []  # transformers 5.23 fails on None if a family has two
        _name_outputs_(config, labels)
        if features is not None:
            config.feature_names, config.feature_means, config.feature_stds = map(list, astuple(features)[:3])
            config.feature_origins = features.origins and list(features.origins)
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            sane.check_size("model.config", auto_class(source.task).from_config(config))
        net: PreTrainedModel = auto_class(source.task).from_config(config, dtype=torch.float32)
    return net


def _name_outputs_(config: PreTrainedConfig, labels: Sequence[str] | None) -> None:
    if labels is None or len(labels) < 2:
        raise InputError(f"model: a new classification head needs at least two labels, the dataset has {labels}")
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}


@transformers_quiet()
def read_net(
    folder: Path,
    config: PreTrainedConfig,
    task: str | None,
    labels: Sequence[str] | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Load the weights, at the recorded widths, into the class for the task; without one, into the config's class.

    All of them must be present, except those of a new head.
    """
    check_weights(folder)
    _plain_(config)
    is_complete = task is None or has_head(config, task)
    if not is_complete:
        _name_outputs_(config, labels)
    with unusable(f"{folder}: the weights do not fit config.json"):
        original = _named(folder, config) if task is None else _for_task(config, task, trust_remote_code)
        chosen: Any = _at_recorded_widths(original, config)
        net, info = chosen.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    body = f"{net.base_model_prefix}."
    missing = [key for key in info["missing_keys"] if is_complete or (key.startswith(body) and "pooler" not in key)]
    if missing:
        raise InputError(f"{folder}: {_missing(missing, info['unexpected_keys'])}")
    unused.check(net, info["unexpected_keys"], folder)
    for tensor in (*net.parameters(), *net.buffers()):
        tensor.data = tensor.data.clone()  # out of the mapped file: convolutions round differently on unaligned memory
    loaded: PreTrainedModel = net
    return loaded


def _missing(missing: Collection[str], unexpected: Collection[str]) -> str:
    what = f"{len(missing)} weights are missing, among them {min(missing)!r}"
    if not unexpected:
        return f"{what}; fetch it again"
    others = f"{len(unexpected)} have names of no such network, among them {min(unexpected)!r}"
    return f"{what}, and {others}; merge masks, adapters and wrappers into the network and save it again"


def _plain_(config: PreTrainedConfig) -> None:
    """Count the outputs from 0, and let the network answer in the form that is read here."""
    config.return_dict = True
    config.output_attentions = config.output_hidden_states = False
    names: Any = config.id2label or {}
    if names and sorted(names) != list(range(len(names))):  # from 1, or with holes: the order is what says the output
        config.id2label = {place: names[key] for place, key in enumerate(sorted(names))}
        config.label2id = {name: place for place, name in config.id2label.items()}


def _for_task(config: PreTrainedConfig, task: str, trust_remote_code: bool) -> type[PreTrainedModel]:
    with torch.device("meta"):
        return type(auto_class(task).from_config(config, trust_remote_code=trust_remote_code))


def _named(folder: Path, config: PreTrainedConfig) -> type[PreTrainedModel]:
    """Find the class that the config names: a language model, an encoder alone, or anything else of transformers."""
    named = getattr(transformers, (config.architectures or ("",))[0], None)
    if not (isinstance(named, type) and issubclass(named, PreTrainedModel)):
        raise InputError(f"{folder}: no network of transformers, config.json names {config.architectures}")
    return named


def _at_recorded_widths(original: type[PreTrainedModel], config: PreTrainedConfig) -> type[PreTrainedModel]:
    """Derive a class of the same name that is built with the widths in the config; the original if it has none.

    Plain `from_pretrained` then loads weights that fit exactly, and handles renamed keys, tied weights and buffers;
    replaying the cuts on the meta device fails for most families.
    """
    recorded = getattr(config, "compressor", None)
    if recorded is None:
        return original
    if recorded["format"] != sane.FORMAT:
        raise ValueError(f"format {recorded['format']} of another version of compressor")

    def init_cut(self: PreTrainedModel, config: PreTrainedConfig, *args: Any, **kwargs: Any) -> None:
        original.__init__(self, config, *args, **kwargs)
        surgery.resize_(self, arch_of(config.model_type), recorded["widths"], recorded.get("biases", ()))
        surgery.restore_(self, recorded.get("factorized", {}))

    return type(original.__name__, (original,), {"__init__": init_cut, "__module__": original.__module__})


def uncut(net: PreTrainedModel) -> PreTrainedModel:
    """Build, without its weights, the network from which a loaded one was cut; the loaded one if it was not."""
    config = deepcopy(net.config)
    if not hasattr(config, "compressor"):
        return net
    del config.compressor
    original: Any = type(net).__base__  # see `_at_recorded_widths`
    with torch.device("meta"):
        return original(config)  # type: ignore[no-any-return]


@transformers_quiet()
def read_processor(folder: Path, task: str, trust_remote_code: bool = False) -> Any:
    """Load the tokenizer or image processor of a folder."""
    settings = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    foreign.require_files(folder)
    with unusable(f"{folder}: no tokenizer or image processor can be loaded"):
        return task_file(task).INPUTS.read_processor(str(folder), **settings)


def record(net: PreTrainedModel, widths: Mapping[str, int], layers: Sequence[int]) -> None:
    """Record in the config what `_at_recorded_widths` needs to load the network: its widths, layers and factors."""
    parts = {"biases": surgery.new_biases(net), "factorized": surgery.specs(net)}
    recorded = {"format": sane.FORMAT, "widths": dict(widths), "layers": list(layers)}
    net.config.compressor = recorded | {name: part for name, part in parts.items() if part}


@transformers_quiet()
def write(net: PreTrainedModel, processor: Any, folder: Path) -> None:
    """Write a complete folder: weights, config, and the tokenizer or image processor if there is one."""
    net.save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
