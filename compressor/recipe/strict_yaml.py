"""YAML read strictly: plain data, the origin of every key, and all problems at once."""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from compressor.errors import RecipeError

Place = tuple[str | int, ...]  # ("stages", 0, "ball")

DEEPEST = 30  # levels; the deepest key of a recipe has six
MOST_VALUES = 20_000  # of a whole recipe: a map of 10,000 labels fits in
MOST_BYTES = 1 << 20
MOST_PROBLEMS = 20  # are listed; nobody mends more at once
INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
NUMBER = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")  # YAML 1.2: 1e-4 is one
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}  # YAML 1.2: no, on and off are text
_OPENING = (
    *(yaml.BlockMappingStartToken, yaml.BlockSequenceStartToken),
    *(yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken),
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_REFUSED = {yaml.TagToken: "tags", yaml.AnchorToken: "anchors", yaml.AliasToken: "aliases"}


class Origin(NamedTuple):
    """Where a key was given, and its rank among the keys."""

    rank: int
    text: str
    """`recipe.yaml:11`, or `--set seed=1`."""


class Problem(NamedTuple):
    """One line for the user; sorted by its origin."""

    origin: Origin
    place: Place
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.origin.text, dotted(self.place), self.what) if part)


@dataclass
class Document:
    """Plain data, the origin of each place in it, and the problems found so far."""

    data: Any
    origins: dict[Place, Origin]
    problems: list[Problem] = field(default_factory=list)

    def origin(self, place: Place) -> Origin:
        """Return the origin of a place, or of the nearest place that contains it."""
        while place not in self.origins:
            place = place[:-1]
        return self.origins[place]

    def object_to(self, place: Place, what: str) -> None:
        """Record a problem."""
        self.problems.append(Problem(self.origin(place), place, what))


def dotted(place: Place) -> str:
    """Write a place as messages do: `stages[0].ball`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def nearest(word: str, known: Collection[str]) -> str:
    """Suggest the known word that was probably meant, or list them all."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"


def refuse(problems: list[Problem]) -> None:
    """Raise all problems in one go, in the order of the text, if there are any."""
    if problems:
        first = sorted(problems, key=lambda problem: problem.origin.rank)
        lines = [str(problem) for problem in first[:MOST_PROBLEMS]]
        n_more = len(first) - len(lines)
        more = [f"{first[0].origin.text or 'recipe'}: and {n_more:,} more problems"] if n_more else []
        raise RecipeError("\n".join([*lines, *more]))


def read(text: str, name: str) -> Document:
    """Read the text of a file."""
    return _read(text, lambda line: Origin(line, f"{name}:{line}"), ())


def override_(document: Document, setting: str) -> None:
    """Apply a setting such as `stages.0.retrain.steps=5`; its value is YAML, and its problems quote the setting."""
    origin = Origin(1 + max(known.rank for known in document.origins.values()), f"--set {setting}")
    key, equals, text = setting.partition("=")
    parts = re.sub(r"\[([0-9]+)\]", r".\1", key.strip()).split(".")  # stages[0].ball, as messages write it, too
    try:
        if not equals or not all(parts):
            raise ValueError("is not a setting; write KEY=VALUE, such as stages.0.retrain.steps=5")
        holder, place = _holder(document.data, parts)
    except ValueError as error:
        document.problems.append(Problem(origin, (), str(error)))
        return
    value = _read(text, lambda _: origin, place)
    holder[place[-1]] = value.data
    others = {other: at for other, at in document.origins.items() if other[: len(place)] != place}
    document.origins = others | value.origins
    document.problems += value.problems


def _holder(data: Any, parts: list[str]) -> tuple[Any, Place]:
    """Return the list or mapping that contains the last part, and the whole place; create missing mappings."""
    place: Place = ()
    for part in parts:
        if place:
            if isinstance(data, dict) and data.get(place[-1]) is None:
                data[place[-1]] = {}
            data = data[place[-1]]
        place = (*place, _key(data, part, place))
    return data, place


def _key(holder: Any, part: str, place: Place) -> str | int:
    at = dotted(place) or "recipe"
    if isinstance(holder, dict):
        return part
    if not isinstance(holder, list):
        raise ValueError(f"{at} has no keys, it is {holder!r}; set it as a whole")
    if not (part.isdecimal() and int(part) < len(holder)):
        raise ValueError(f"{at} has {len(holder)} entries, counted from 0, got {part!r}; use an existing index")
    return int(part)


def _read(text: str, at: Callable[[int], Origin], place: Place) -> Document:
    try:
        tokens = list(_bounded(yaml.scan(text), at))
        problems = list(_not_plain(text, tokens, at))
        if any(isinstance(token, yaml.AliasToken) for token in tokens):
            refuse(problems)  # a list may contain itself, so the rest cannot be read
        document = Document(None, {place: at(1)}, problems)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = str(error.problem).removeprefix("but ")
        raise RecipeError(f"{at(line).text}: invalid YAML, {problem}; fix it") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError(f"{at(line).text}: invalid YAML, it contains a control character; remove it") from None
    document.data = _plain(node, place, document, at) if node else None
    return document


def _bounded(tokens: Iterable[yaml.Token], at: Callable[[int], Origin]) -> Iterator[yaml.Token]:
    """Pass tokens on; refuse a text that is nested too deeply to be read, or has more values than any recipe."""
    depth = n_values = 0
    for token in tokens:
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        n_values += isinstance(token, yaml.ScalarToken)
        if depth > DEEPEST or n_values > MOST_VALUES:
            most = f"nested deeper than {DEEPEST} levels" if depth > DEEPEST else f"more than {MOST_VALUES:,} values"
            raise RecipeError(f"{at(token.start_mark.line + 1).text}: {most}; no recipe is like that")
        yield token


def _not_plain(text: str, tokens: list[yaml.Token], at: Callable[[int], Origin]) -> Iterator[Problem]:
    """Yield a problem for each tag, anchor and alias: a recipe is a tree of plain values."""
    for token in tokens:
        if refused := _REFUSED.get(type(token)):
            source = text[token.start_mark.index : token.end_mark.index]
            what = f"{refused} are not allowed, got {source!r}; write the value out"
            yield Problem(at(token.start_mark.line + 1), (), what)


def _plain(node: yaml.Node, place: Place, document: Document, at: Callable[[int], Origin]) -> Any:
    """Turn a node into lists, dictionaries and scalars, and record the origin of each."""
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            document.origins[*place, index] = at(item.start_mark.line + 1)
        return [_plain(item, (*place, index), document, at) for index, item in enumerate(node.value)]
    mapping: dict[str, Any] = {}
    for key, value in node.value:
        origin = at(key.start_mark.line + 1)
        here = (*place, str(key.value))
        if not isinstance(key, yaml.ScalarNode):
            document.problems.append(Problem(origin, place, "a key should be text, got a list or a mapping; name it"))
        elif key.value == "<<":
            document.problems.append(Problem(origin, place, "merge keys are not allowed, got '<<'; write the keys out"))
        elif key.value in mapping:
            first = document.origin(here).text
            document.problems.append(Problem(origin, here, f"duplicate key, first given at {first}; keep one"))
        else:
            document.origins[here] = origin
            mapping[key.value] = _plain(value, here, document, at)
    return mapping


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    if node.style is not None:  # quoted, or a block of text
        return text
    if INTEGER.fullmatch(text):
        return int(text)
    if NUMBER.fullmatch(text):
        return float(text)
    return _WORDS.get(text.lower(), text)
