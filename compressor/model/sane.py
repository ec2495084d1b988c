"""Bounds on what a config may ask for, and the form of the settings that we read ourselves."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypedDict

from torch import nn

from compressor.bench.conforms import misfit
from compressor.errors import InputError

DEEPEST = 10_000  # layers; the deepest published networks have about a thousand
FORMAT = 1  # of the block `compressor` in a config
WHOLE = {"format", "widths", "layers"}  # keys that such a block always has
PATCHES = 2**16  # of 16 x 16 pixels: images of 4096 x 4096; attention compares each with each
LARGEST = 2**31  # of any other number: no network has as many units, and torch's own integers end at 2**63
COUNTS = re.compile(r"(num|n)_.*(layer|block|stage|group|head)|layers$|depths?$")  # settings that count modules


class Factors(TypedDict, total=False):
    """What a factorized layer says of itself."""

    kind: Literal["linear", "conv1x1", "conv2d", "embedding"]
    method: str
    terms: list[list[str]]
    axes: list[str]
    sparse: list[int]
    sizes: dict[str, int]
    settings: dict[str, list[int] | str]
    bias: bool
    padding_idx: int | None


class Recorded(TypedDict, total=False):
    """The block `compressor` of a config: the widths of a network that was cut."""

    format: int
    widths: dict[str, int]
    layers: list[int]
    biases: list[str]
    factorized: dict[str, Factors]


class Settings(TypedDict, total=False):
    """What we read of a config.json; the rest is transformers' own."""

    model_type: str | None
    architectures: list[str] | None
    id2label: dict[str, str | int | None] | None
    compressor: Recorded


def check(place: object, settings: Any) -> None:
    """Refuse settings of the wrong form, and numbers for which a network would be built for hours.

    Raises
    ------
    InputError
        With ``place``, where the settings were found.
    """
    wrong = misfit(settings, Settings)
    recorded = {} if wrong else settings.get("compressor", {"format": None})
    if not wrong and not (recorded.keys() >= WHOLE or recorded.get("format") != FORMAT):
        wrong = "compressor should have the keys format, widths and layers"
    if wrong:
        raise InputError(f"{place}: {wrong}; fetch it again")
    for name, number in _numbers(settings):
        most = DEEPEST if COUNTS.search(name) else LARGEST
        if abs(number) > most:
            raise InputError(f"{place}: {name!r} is {number:.6g}, no network has more than {most:,}; correct it")
    size, patch = settings.get("image_size"), settings.get("patch_size", 16)
    if isinstance(size, int) and isinstance(patch, int) and patch > 0 and (n_patches := (size // patch) ** 2) > PATCHES:
        raise InputError(
            f"{place}: images of {size} have {n_patches:,} patches, more than {PATCHES:,}; make them smaller"
        )


def check_size(place: object, net: nn.Module) -> None:
    """Refuse a network, built without its weights, whose weights alone are more than the memory of this machine."""
    needed = sum(weights.numel() * 4 for weights in net.parameters())
    has = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > has:
        what = f"its weights take {needed / 1e9:,.1f} GB, this machine has {has / 1e9:,.1f} GB"
        raise InputError(f"{place}: {what}; give a smaller network")


def _numbers(settings: Any) -> Iterator[tuple[str, float]]:
    """Yield the whole numbers by the name of the setting that holds them, at any depth."""
    waiting: list[tuple[str, Any]] = [("", settings)]
    while waiting:
        name, each = waiting.pop()
        if isinstance(each, Mapping):
            waiting += [(str(key), value) for key, value in each.items()]
        elif isinstance(each, list):
            waiting += [(name, value) for value in each]
        elif isinstance(each, int) and not isinstance(each, bool):
            yield name, each
