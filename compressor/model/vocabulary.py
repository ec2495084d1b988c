"""Reduce a tokenizer.json to fewer tokens: find those that must stay together, and rewrite the file to new ids."""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

Json = dict[str, Any]
BYTE = re.compile("<0x[0-9A-F]{2}>")  # tokens that spell characters without a token of their own


def closed(tokenizer: Json, wanted: Collection[int]) -> list[int]:
    """Return the ids of the wanted tokens and of all tokens that must stay with them, in increasing order.

    These are added tokens and those that the file itself names; single characters and bytes, so that a word whose
    token is removed can be spelled; for byte-pair encoding also all pieces that are merged on the way to a token.

    Parameters
    ----------
    tokenizer : dict
        Content of a tokenizer.json, as the tokenizers library writes it.
    wanted : collection of int
        Ids of tokens; ids without a token are ignored.

    Returns
    -------
    list of int
        A text made of these tokens alone is split as before once all others are removed.

    Raises
    ------
    ValueError
        If the model is not WordPiece, Unigram, or byte-pair encoding without affixes.
    """
    model = tokenizer["model"]
    id_of = _ids(model)
    added = {token["id"] for token in tokenizer["added_tokens"]}
    kept = (added | set(id_of.values())).intersection(wanted)
    if model["type"] == "BPE":
        ranks = {tuple(pair): rank for rank, pair in enumerate(model["merges"])}
        for token in [token for token, index in id_of.items() if index in kept - added]:
            kept |= {id_of[piece] for piece in _merged(token, ranks) if piece in id_of}
    padding = {tokenizer["padding"]["pad_id"]} if tokenizer["padding"] else set()
    return sorted(kept.union(added, padding, _essential(model), _template_ids(tokenizer["post_processor"])))


def trimmed(tokenizer: Json, kept: Sequence[int]) -> Json:
    """Rewrite a tokenizer.json to the kept tokens: the n-th of them gets the id n.

    Parameters
    ----------
    tokenizer : dict
        Content of a tokenizer.json; it is not changed.
    kept : sequence of int
        The ids that `closed` returned.

    Returns
    -------
    dict
        Content of the new file, which shares the unchanged parts.

    Examples
    --------
    >>> vocab = {"[UNK]": 0, "a": 1, "##b": 2, "##bb": 3, "ab": 4}
    >>> model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "vocab": vocab}
    >>> file = {"added_tokens": [], "post_processor": None, "padding": None, "model": model}
    >>> closed(file, wanted=[4])
    [0, 1, 2, 4]
    >>> trimmed(file, [0, 1, 2, 4])["model"]["vocab"]
    {'[UNK]': 0, 'a': 1, '##b': 2, 'ab': 3}
    """
    new = {old: index for index, old in enumerate(kept)}
    padding = tokenizer["padding"]
    return {
        **tokenizer,
        "added_tokens": [{**token, "id": new[token["id"]]} for token in tokenizer["added_tokens"]],
        "post_processor": _renumbered(tokenizer["post_processor"], new),
        "padding": padding and {**padding, "pad_id": new[padding["pad_id"]]},
        "model": _trimmed_model(tokenizer["model"], new),
    }


def _ids(model: Json) -> dict[str, int]:
    """Id of each token of a supported model; others are refused."""
    kind = model["type"]
    if kind == "Unigram":
        return {token: index for index, (token, _) in enumerate(model["vocab"])}
    has_affixes = kind == "BPE" and (model["continuing_subword_prefix"] or model["end_of_word_suffix"])
    if kind not in ("WordPiece", "BPE") or has_affixes:
        what = f"{kind}{' with affixes' if has_affixes else ''}"
        raise ValueError(f"tokens can be removed from WordPiece, BPE and Unigram, not from {what}; leave it out")
    id_of: dict[str, int] = model["vocab"]
    return id_of


def _essential(model: Json) -> Iterator[int]:
    """Yield the ids without which some text could not be split, or would be split differently."""
    id_of = _ids(model)
    prefix = model.get("continuing_subword_prefix") or ""
    yield from (i for token, i in id_of.items() if len(token.removeprefix(prefix)) == 1 or BYTE.fullmatch(token))
    if model["type"] == "Unigram":
        yield min(range(len(id_of)), key=lambda i: model["vocab"][i][1])  # the score of unknown tokens depends on it
        if model["unk_id"] is not None:
            yield model["unk_id"]
    elif model["unk_token"] in id_of:
        yield id_of[model["unk_token"]]


def _merged(token: str, ranks: Mapping[tuple[str, ...], int]) -> set[str]:
    """Return all pieces that byte-pair encoding makes on the way from the characters of a token to the token."""
    pieces = list(token)
    made = set(pieces)
    while len(pieces) > 1:
        rank, at = min((ranks.get(pair, math.inf), at) for at, pair in enumerate(pairwise(pieces)))
        if rank == math.inf:  # a token that is matched whole, and never made by merging
            break
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        made.add(pieces[at])
    return made


def _trimmed_model(model: Json, new: Mapping[int, int]) -> Json:
    if model["type"] == "Unigram":
        vocab = [entry for index, entry in enumerate(model["vocab"]) if index in new]
        return {**model, "vocab": vocab, "unk_id": new.get(model["unk_id"])}
    ids = {token: new[index] for token, index in model["vocab"].items() if index in new}
    if model["type"] == "WordPiece":
        return {**model, "vocab": ids}
    merges = [[left, right] for left, right in model["merges"] if {left, right, left + right} <= ids.keys()]
    return {**model, "vocab": ids, "merges": merges}


def _template_ids(step: Json | None) -> Iterator[int]:
    """Yield the ids that a post-processor puts around a text."""
    for inner in (step or {}).get("processors", ()):
        yield from _template_ids(inner)
    for special in (step or {}).get("special_tokens", {}).values():
        yield from special["ids"]
    yield from (step[end][1] for end in ("cls", "sep") if step and end in step)


def _renumbered(step: Json | None, new: Mapping[int, int]) -> Json | None:
    """Rewrite the ids in a post-processor: Sequence, TemplateProcessing, BertProcessing or RobertaProcessing."""
    if step is None:
        return None
    step = dict(step)
    if "processors" in step:
        step["processors"] = [_renumbered(inner, new) for inner in step["processors"]]
    if "special_tokens" in step:
        specials = step["special_tokens"].items()
        step["special_tokens"] = {name: {**entry, "ids": [new[i] for i in entry["ids"]]} for name, entry in specials}
    for end in {"cls", "sep"} & step.keys():
        token, index = step[end]
        step[end] = [token, new[index]]
    return step
