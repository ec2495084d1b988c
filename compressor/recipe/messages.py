"""Turn pydantic's validation errors into messages of ours, each with the line of its key."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from compressor.recipe.strict_yaml import MOST_PROBLEMS, Document, Place, Problem, nearest

_WORDS = {
    "missing": "required key is missing; add it",
    "too_short": "is empty; give at least one entry",
    "bool_type": "should be true or false",
    "string_type": "should be text; put it in quotes",
    "tuple_type": "should be a list",
    "list_type": "should be a list",
    "dict_type": "should be a mapping",
    "model_type": "should be a mapping",
    "model_attributes_type": "should be a mapping",
}


def complaints(error: ValidationError, schema: type[BaseModel], document: Document) -> Iterator[Problem]:
    """Yield one problem per place; skip branches of a union that the value cannot be meant for."""
    by_place: dict[Place, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        if detail["type"] == "too_short" and detail["input"]:
            continue  # pydantic counts only valid entries; the others have errors of their own
        by_place.setdefault(_place(detail, document.data), []).append(detail)
    holders = {place[:depth] for place in by_place for depth in range(len(place))}
    in_order = sorted(by_place.items(), key=lambda item: document.origin(item[0]).rank)
    for n_given, (place, details) in enumerate(in_order):
        if n_given > MOST_PROBLEMS:  # the rest is only counted: looking for the key that was meant takes a while
            yield Problem(document.origin(place), place, "")
            continue
        has_inner = place in holders
        specific = [detail for detail in details if not detail["type"].endswith("_type")]
        if specific or not has_inner:
            details = specific or details
            first, *others = dict.fromkeys(_what(detail, schema) for detail in details)
            what = " or ".join([first, *(other.removeprefix("should be ") for other in others)])
            tag = (
                details[0].get("ctx", {}).get("discriminator", "").strip("'")
            )  # of a union: the key with the wrong value
            yield Problem(document.origin((*place, tag)), place, what + _got(details[0]))


def _place(detail: ErrorDetails, data: Any) -> Place:
    """Remove the names of union branches from pydantic's location."""
    place: Place = ()
    for part in detail["loc"]:
        if (isinstance(data, dict) and part in data) or (isinstance(data, list) and isinstance(part, int)):
            data = data[part]  # type: ignore[index]
            place = (*place, part)
    return (*place, detail["loc"][-1]) if detail["type"] == "missing" else place


def _what(detail: ErrorDetails, schema: type[BaseModel]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        *holder, key = detail["loc"]
        return f"unknown key; {nearest(str(key), list(_model_at(holder, schema).model_fields))}"
    if kind == "union_tag_invalid":
        tags = re.findall(r"'([^']*)'", context["expected_tags"])
        return f"unknown {context['discriminator'].strip(chr(39))} {context['tag']!r}; {nearest(context['tag'], tags)}"
    if kind == "union_tag_not_found":
        return f"has no key {context['discriminator']}; add it"
    return _WORDS.get(kind) or re.sub("^(Input|Value error,) ", "", detail["msg"])


def _got(detail: ErrorDetails) -> str:
    kind, value = detail["type"], detail["input"]
    if kind in ("missing", "too_short", "extra_forbidden", "union_tag_invalid", "union_tag_not_found"):
        return ""
    if isinstance(value, (dict, list)):
        return f", got a {'mapping' if isinstance(value, dict) else 'list'}" if kind.endswith("_type") else ""
    return f", got {value!r}"


def _model_at(place: Sequence[str | int], schema: type[BaseModel]) -> type[BaseModel]:
    """Follow pydantic's location through the models it names."""
    choices = [schema]
    for part in place:
        field = next((model.model_fields[part] for model in choices if part in model.model_fields), None)
        if field is not None:
            choices = list(_models(field.annotation))
        else:  # an index, or the tag of one branch
            choices = [model for model in choices if part in _tags(model)] or choices
    return choices[0]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _tags(model: type[BaseModel]) -> set[Any]:
    return {word for field in model.model_fields.values() for word in get_args(field.annotation)}
