"""What a checkpoint may name: weights beside it, and no code or weights from elsewhere."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compressor.bench.reading import read_json
from compressor.errors import InputError

INDEX = "model.safetensors.index.json"
ATTENTIONS = (None, "eager", "sdpa")
EXPERTS = (None, "eager", "batched_mm", "grouped_mm")
BUILT_IN = {  # settings that may name a kernel, which transformers would fetch and run; and what it has itself
    **dict.fromkeys(("attn_implementation", "_attn_implementation", "_attn_implementation_internal"), ATTENTIONS),
    **dict.fromkeys(("experts_implementation", "_experts_implementation"), EXPERTS),
}
QUANTIZED = ("quantization_config", "compression_config")
WEIGHTS_ELSEWHERE = "transformers_weights"


def shards(folder: Path) -> list[str]:
    """Names of the weights that the index of a checkpoint lists; none without an index.

    Raises
    ------
    InputError
        If the index is damaged, or names anything but safetensors that lie beside it: transformers would open a pickle,
        and files outside the folder.
    """
    file = folder / INDEX
    if not file.exists():
        return []
    try:
        names = sorted(set(read_json(file)["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"{file}: no usable index of weights; fetch it again") from error
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
    """Refuse a config that asks for kernels from elsewhere, for other weights, or was quantized by another tool.

    Raises
    ------
    InputError
        With ``place``, where the settings were found.
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
    """Look at one name, or at one for each part of a network."""
    return all(each in known for each in (value.values() if isinstance(value, dict) else (value,)))


def _nested(settings: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the settings and those within them, such as one for each part of a network."""
    waiting = [settings]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            yield each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
