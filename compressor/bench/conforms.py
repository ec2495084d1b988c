"""Plain data, compared with the class that says what a document holds."""

import math
from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

WORDS = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a mapping",
}
MOST = 2**63  # larger numbers are no counts, and do not fit where they are computed with
SHOWN = 40  # characters of what was found


def misfit(value: object, kind: Any, *, may_lack: bool = False) -> str:
    """Say what is wrong with plain data, in one line; empty if nothing is.

    Parameters
    ----------
    value : object
        What a JSON file holds.
    kind : type
        A TypedDict, or what its fields may be. Unknown keys are fine.
    may_lack : bool
        Whether keys may be missing, as in files of earlier versions.

    Examples
    --------
    >>> misfit({"n": [1, "2"]}, dict[str, list[int]])
    "n[1] should be a whole number, found '2'"
    >>> misfit(float("nan"), float)
    'it should be a number, found nan'
    """
    place, what = next(_misfits(value, kind, may_lack), ("", ""))
    return f"{place.removeprefix('.') or 'it'} {what}" if what else ""


def _misfits(value: object, kind: Any, may_lack: bool) -> Iterator[tuple[str, str]]:
    origin, inner = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        yield from _of_keys(value, kind, may_lack)
    elif origin in (Union, UnionType):
        yield from _of_choices(value, inner, may_lack)
    elif origin is Literal:
        if value not in inner:
            yield "", f"should be one of {', '.join(map(repr, inner))}, found {_shown(value)}"
    elif origin in (list, tuple):
        yield from _of_list(value, inner if origin is list else (Any,), may_lack)
    elif origin is dict:
        yield from _of_mapping(value, inner[1], may_lack)
    elif kind in WORDS and not _is_plain(value, kind):
        yield "", f"should be {WORDS[kind]}, found {_shown(value)}"
    elif kind is type(None) and value is not None:
        yield "", f"should be null, found {_shown(value)}"


def _of_keys(value: object, kind: Any, may_lack: bool) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        yield "", f"should be a mapping, found {_shown(value)}"
        return
    for key, inner in get_type_hints(kind).items():
        if key in value:
            yield from ((f".{key}{place}", what) for place, what in _misfits(value[key], inner, may_lack))
        elif key in kind.__required_keys__ and not may_lack:
            yield f".{key}", "is missing"


def _of_choices(value: object, choices: tuple[Any, ...], may_lack: bool) -> Iterator[tuple[str, str]]:
    found = [next(_misfits(value, choice, may_lack), None) for choice in choices]
    if None not in found:  # the first choice is what is meant, null the exception
        yield next(each for each in found if each is not None)


def _of_list(value: object, inner: tuple[Any, ...], may_lack: bool) -> Iterator[tuple[str, str]]:
    if not isinstance(value, (list, tuple)):
        yield "", f"should be a list, found {_shown(value)}"
        return
    for index, each in enumerate(value):
        yield from ((f"[{index}]{place}", what) for place, what in _misfits(each, inner[0], may_lack))


def _of_mapping(value: object, inner: Any, may_lack: bool) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        yield "", f"should be a mapping, found {_shown(value)}"
        return
    for key, each in value.items():
        yield from ((f".{key}{place}", what) for place, what in _misfits(each, inner, may_lack))


def _is_plain(value: object, kind: Any) -> bool:
    """Whether a value is of a kind; a whole number is a fine float, true is none, and neither is NaN."""
    if kind in (int, float):
        is_number = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        return is_number and math.isfinite(value) and abs(value) < MOST  # type: ignore[arg-type]
    return isinstance(value, kind)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
