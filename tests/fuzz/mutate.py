"""Spoil bytes and trees of JSON, always in the same way for the same generator."""

import copy
import json
from random import Random
from typing import Any

DEPTH = 3_000  # of a nested bomb: parsers that recurse give up at a third of it
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.5, 1e-300, 1e300),
    *(float("nan"), float("inf"), [], {}, [[]], {"": None}, [None], [1, "1"], "", " ", "0", "x" * 255, "x" * 5_000),
    *(
        "../..",
        "/dev/zero",
        "/dev/null",
        "\0",
        "\ud800",
        "<img src=x onerror=alert(1)>",
        "a\nb",
        "{{ 7 * 7 }}",
        "*",
        "[",
        "null",
    ),
)
CHUNKS = (b"", b"\0", b"\xff", b"\n", b'"', b"{", b"[", b"]", b",", b"null", b"\xef\xbb\xbf", b"\x80" * 9, b"9" * 5_000)


def spoiled_bytes(rng: Random, content: bytes) -> bytes:
    """Flip, cut, repeat, remove or insert bytes at up to three places."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        start = rng.randrange(len(content) + 1)
        stop = min(len(content), start + rng.choice((1, 1, 8, 100, 10_000)))
        before, chunk, after = content[:start], content[start:stop], content[stop:]
        way = rng.randrange(6)
        if way == 0 and chunk:
            content = before + bytes([chunk[0] ^ (1 << rng.randrange(8))]) + chunk[1:] + after
        elif way == 1:
            content = before
        elif way == 2:
            content = before + chunk * rng.choice((2, 3, 50)) + after
        elif way == 3:
            content = before + after
        elif way == 4:
            content = before + bytes(len(chunk)) + after
        else:
            content = before + rng.choice(CHUNKS) + chunk + after
    return content


def spoiled_tree(rng: Random, tree: Any) -> Any:
    """Replace, remove, add, move or nest values at up to three places of plain data."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return rng.choice(ODD)
        holder, key = rng.choice(places)
        way = rng.randrange(8)
        if way < 4:
            holder[key] = _other(rng, holder[key])
        elif way == 4:
            del holder[key]
        elif way == 5:
            holder[key] = copy.deepcopy(rng.choice(places)[0])
        elif isinstance(holder, dict):
            holder[rng.choice(("x", "", "None", str(key) + "s", "x" * 255))] = rng.choice((holder[key], *ODD))
        else:
            holder.insert(key, rng.choice((holder[key], *ODD)))
    return tree


def spoiled_json(rng: Random, text: str) -> bytes:
    """Spoil a JSON file: mostly its values, sometimes its bytes."""
    if rng.random() < 0.25:
        return spoiled_bytes(rng, text.encode())
    if rng.random() < 0.04:
        return b'{"a":' * DEPTH if rng.random() < 0.5 else b"[" * DEPTH + b"]" * DEPTH
    return json.dumps(spoiled_tree(rng, json.loads(text))).encode()


def _other(rng: Random, value: Any) -> Any:
    """Give a value of another kind, or a near one of the same."""
    near: tuple[Any, ...] = ()
    if isinstance(value, bool):
        near = (not value,)
    elif isinstance(value, int):
        near = (value + 1, value - 1, -value, value * 2, value * 1_000, float(value), str(value))
    elif isinstance(value, float):
        near = (-value, value * 1_000, value / 1_000, int(value) if abs(value) < 1e9 else 0, str(value))
    elif isinstance(value, str):
        near = (value + "s", value[:-1], value.upper(), value + "\n", [value], value * 2)
    elif isinstance(value, list):
        near = (value * 2, value[:-1], value[::-1], dict(enumerate(map(str, range(len(value))))))
    elif isinstance(value, dict):
        near = (list(value), list(value.values()))
    return rng.choice((*near, *ODD) if rng.random() < 0.5 or not near else near)


def _places(tree: Any) -> Any:
    """Yield the holder and the key of each value in a tree."""
    if isinstance(tree, dict):
        inner = list(tree.items())
    elif isinstance(tree, list):
        inner = list(enumerate(tree))
    else:
        return
    for key, value in inner:
        yield tree, key
        yield from _places(value)
