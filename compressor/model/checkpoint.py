"""Find, hash and check the checkpoint that a recipe names, before any weight is read."""

import difflib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema, model_validator
from safetensors import SafetensorError, safe_open
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from compressor import archs
from compressor.archs import Arch
from compressor.bench.reading import read_json
from compressor.errors import InputError, first_line, unusable
from compressor.model import foreign, hub, sane
from compressor.nets import tabular
from compressor.options import Base
from compressor.plugins import discover
from compressor.tasks import task_file, task_files, usual_name

WEIGHTS = "model*.safetensors"
WORDS = ("*.json", "*.txt", "*.model")  # config, tokenizer, image processor
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.msgpack")


class Source(Base):
    """Recipe key `model`: a checkpoint, or a config to start from with random weights."""

    checkpoint: str | None = None
    """Hub id or local folder; safetensors only."""
    config: dict[str, Any] | None = None
    """Instead of `checkpoint`: `model_type` and all settings that differ from its defaults; the weights are random."""
    processor: str | None = None
    """Hub id or local folder of the tokenizer or image processor to use with `config`."""
    revision: str = "main"
    """Branch, tag or commit on the Hub."""
    task: Annotated[str, AfterValidator(usual_name), WithJsonSchema({"type": "string", "enum": list(task_files())})]
    """Task of the network."""
    trust_remote_code: bool = False
    """Run Python code from the checkpoint; it is never run unless this is true."""

    @model_validator(mode="after")
    def _one_start(self) -> "Source":
        if (self.checkpoint is None) == (self.config is None):
            raise ValueError("give either 'checkpoint' or 'config'")
        if self.config is not None and not isinstance(self.config.get("model_type"), str):
            raise ValueError("'config' needs a 'model_type', such as vit")
        if self.checkpoint is not None and self.processor is not None:
            raise ValueError("'processor' goes with 'config'; a checkpoint has its own")
        inputs = task_file(self.task).INPUTS
        if self.processor is not None and inputs.PROCESSOR == "none":
            raise ValueError("a table needs no 'processor': the network standardises its features itself")
        if self.config is not None and self.processor is None and inputs.PROCESSOR == "needed":
            raise ValueError("'config' of a text model needs a 'processor': a tokenizer's hub id or folder")
        return self


def fetch(source: Source) -> Path | None:
    """Local folder of the checkpoint; None if the recipe starts from a config."""
    return None if source.checkpoint is None else _folder("model.checkpoint", source.checkpoint, source)


def fetch_processor(source: Source) -> Path | None:
    """Local folder of the tokenizer or image processor; None if it is made from the config."""
    return fetch(source) if source.processor is None else _folder("model.processor", source.processor, source)


def digest(source: Source) -> str:
    """Hash of the content of the files and settings of a model, without any path or date."""
    content = hashlib.sha256(json.dumps([source.config, source.task], sort_keys=True).encode())
    folder = fetch_processor(source)
    if folder is not None:
        content.update(digest_of(folder, _files(source)).encode())
    return content.hexdigest()


def digest_of(folder: Path, patterns: Sequence[str] = (*WORDS, WEIGHTS)) -> str:
    """Hash of the names and contents of a checkpoint's files; weights that only the index names are among them."""
    files = {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
    content = hashlib.sha256()
    for file in sorted(files.union(_weights(folder) if WEIGHTS in patterns else ())):
        with file.open("rb") as stream:
            content.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return content.hexdigest()


def is_fine_tuned(source: Source) -> bool:
    """Whether the checkpoint has a classification head for its task."""
    folder = fetch(source)
    return folder is not None and has_head(read_config(folder, source.trust_remote_code), source.task)


def task_of(checkpoint: str) -> str:
    """Name the task that a checkpoint has a head for."""
    folder = hub.folder("checkpoint", checkpoint, "main", "model", (*WORDS, WEIGHTS))
    config = read_config(folder)
    found = next((name for name in task_files() if has_head(config, name)), None)
    if found is None:
        raise InputError(f"checkpoint: no head for a task, got {checkpoint!r}; give one of {', '.join(task_files())}")
    return found


def has_head(config: PreTrainedConfig, task: str) -> bool:
    """Whether the weights that belong to this config include a head for the task."""
    return any(task_file(task).HEAD in name for name in config.architectures or ())


def read_config(folder: Path, trust_remote_code: bool = False) -> PreTrainedConfig:
    """Read the config.json of a supported family."""
    tabular.register()
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(f"{folder}: no config.json in this folder; give the folder of a checkpoint")
    with unusable(f"{file}: not a usable config"):
        foreign.require_files(folder)
        settings = read_json(file)
        sane.check(file, settings)
        if not trust_remote_code:
            require_family(settings["model_type"])
        foreign.check_settings(file, settings)
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    return config


def arch_of(model_type: str) -> Arch:
    """Return the file of a family, or the file that traces for families without one."""
    files = discover(archs, Arch)
    families = {family: arch for arch in files.values() for family in arch.MODEL_TYPES}
    return families.get(model_type, files["traced"])


def require_family(model_type: object) -> None:
    """Refuse a family that transformers does not have, with a shorter message than its own."""
    if model_type not in CONFIG_MAPPING:
        close = difflib.get_close_matches(str(model_type), list(CONFIG_MAPPING), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"model: transformers has no family {model_type!r}{hint}")


def check_weights(folder: Path) -> None:
    """Refuse a folder without complete safetensors files; no other files of weights are ever opened."""
    files = _weights(folder)
    if not files:
        pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
        found = f"only {pickles[0]!r}" if pickles else "no weights"
        raise InputError(f"{folder}: no model.safetensors, found {found}; pickles are never opened, convert them first")
    for file in files:
        try:
            with safe_open(file, "pt"):  # compares the header with the length of the file
                pass
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file}: damaged or truncated ({first_line(error)}); fetch it again") from error


def _weights(folder: Path) -> list[Path]:
    """Files of weights, those that only the index names among them."""
    return sorted({*folder.glob(WEIGHTS), *(folder / name for name in foreign.shards(folder))})


def _folder(place: str, name: str, source: Source) -> Path:
    return hub.folder(place, name, source.revision, "model", _files(source))


def _files(source: Source) -> tuple[str, ...]:
    """Patterns of the files of a source; never pickles, and code only on demand."""
    return (*WORDS, *([WEIGHTS] if source.checkpoint else []), *(["*.py"] if source.trust_remote_code else []))
