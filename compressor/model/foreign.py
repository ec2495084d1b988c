"""Checks of what a checkpoint refers to: weights beside it, but no code and no weights from elsewhere."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compressor.bench.reading import read_json
from compressor.errors import InputError

INDEX = "model.safetensors.index.json"
ATTENTIONS = (None, "eager", "sdpa")
EXPERTS = (None, "eager", "batched_mm", "grouped_mm")
BUILT_IN = {  # settings that may name a kernel, which transformers would download and run; and its own kernels
    **dict.fromkeys(("attn_implementation", "_attn_implementation", "_attn_implementation_internal"), ATTENTIONS),
    **dict.fromkeys(("experts_implementation", "_experts_implementation"), EXPERTS),
}
QUANTIZED = ("quantization_config", "compression_config")
WEIGHTS_ELSEWHERE = "transformers_weights"


def shards(folder: Path) -> list[str]:
    """Return the names of the weight files in the index of a checkpoint; an empty list if there is no index.

    Raises
    ------
    InputError
        If the index is damaged, or names anything but safetensors files beside it. transformers would open pickles too,
        and files outside the folder.
    """
    file = folder / INDEX
    if not file.exists():
        return []
    try:
        names = sorted(set(read_json(file)["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"{file}: not a usable index of weights; fetch it again") from error
    for name in names:
        if not isinstance(name, str) or name != Path(name).name or not name.endswith(".safetensors"):
            raise InputError(f"{file}: weights must be .safetensors files beside it, found {name!r}; fetch it again")
        if not (folder / name).is_file():
            raise InputError(f"{file}: {name!r} is not there; fetch the folder again")
    return names


def require_files(folder: Path) -> None:
    """Refuse pipes and devices in the folder of a checkpoint: reading them would never end."""
    for file in sorted(folder.iterdir()):
        if file.exists() and not (file.is_file() or file.is_dir()):
            raise InputError(f"{file}: no regular file; fetch it again")


def check_settings(place: object, settings: Mapping[str, Any]) -> None:
    """Refuse a config that names a kernel to download or other weight files, or of a network quantized elsewhere.

    Parameters
    ----------
    place : object
        Where the settings were found; the error message starts with it.
    settings : mapping
        The config as read from JSON.

    Raises
    ------
    InputError
        With the setting and its value.
    """
    for each in _nested(settings):
        for key, value in each.items():
            if key in BUILT_IN and not _is_built_in(value, BUILT_IN[key]):
                known = ", ".join(filter(None, BUILT_IN[key]))
                raise InputError(f"{place}: {key!r} must be one of {known}, found {value!r}; remove the line")
        if each.get(WEIGHTS_ELSEWHERE) is not None:
            raise InputError(f"{place}: {WEIGHTS_ELSEWHERE!r} names the weights; call them model.safetensors instead")
        quantized = next((each[key] for key in QUANTIZED if each.get(key)), None)
        if quantized:
            method = quantized.get("quant_method") if isinstance(quantized, dict) else None
            how = f"quantized by {method!r}" if method else "quantized"
            raise InputError(f"{place}: the checkpoint is {how}; give the float checkpoint that it was made of")


def _is_built_in(value: Any, known: tuple[str | None, ...]) -> bool:
    """Whether a name is built in, or each name, if every part of the network has its own."""
    return all(each in known for each in (value.values() if isinstance(value, dict) else (value,)))


def _nested(settings: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the settings and all settings nested in them, such as those of an encoder and a decoder."""
    waiting = [settings]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            yield each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
