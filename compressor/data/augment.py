"""Synthetic sentences for distillation, labelled by the original: words replaced by similar ones, and texts joined."""

import os
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.data.batches import Split
from compressor.data.options import Augment
from compressor.errors import RecipeError
from compressor.inputs.text import Tokens
from compressor.model import Model
from compressor.numerics.classification import NO_LABEL

N_NEIGHBOURS = 12
CHUNK = 1024  # rows of the similarity matrix at a time


def augmented(split: Split, options: Augment, model: Model, seed: int) -> Split:
    """Add synthetic examples to the training split; they have no label, so that only distillation uses them.

    A small student memorises its training sentences long before it has learnt the original's function; new
    sentences keep teaching it (Jiao et al., TinyBERT, 2020, arXiv:1909.10351, replace words in the same way).
    """
    if split.tokens is None:
        raise RecipeError("data.augment: works on text, not on images; leave it out")
    generator = torch.Generator().manual_seed(seed)
    source = split.tokens
    _require_memory(source, options.copies)
    table = neighbours(model, source.flat["input_ids"])
    parts = [source]
    for _ in range(options.copies):
        copy = _joined(source, options.join, generator) if _is_single(source) else source
        ids = _replaced(copy.flat["input_ids"], table, options.replace, generator)
        parts.append(replace(copy, flat={**copy.flat, "input_ids": ids}))
    tokens = replace(
        source,
        flat={name: torch.cat([part.flat[name] for part in parts]) for name in source.flat},
        lengths=torch.cat([part.lengths for part in parts]),
    )
    unlabelled = torch.full((len(tokens.lengths) - len(split),), NO_LABEL)
    return Split(tokens, tokens.lengths.tolist(), torch.cat([split.labels, unlabelled]))


def _require_memory(source: Tokens, copies: int) -> None:
    """Refuse more copies than half of the memory of this machine holds; the other half is for training."""
    needed = sum(flat.nbytes for flat in source.flat.values()) * (copies + 1)
    has = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > has // 2:
        what = f"{copies:,} copies take {needed / 1e9:,.1f} GB, this machine has {has / 1e9:,.1f} GB"
        raise RecipeError(f"data.augment.copies: {what}; make fewer")


def neighbours(model: Model, ids: Tensor) -> Tensor:
    """For each token id, the ids of its nearest whole words by the cosine of their embeddings.

    Words are those that occur in ``ids``. A token that is not a whole word is its own neighbour.

    Returns
    -------
    Tensor of int64, shape (vocabulary, 12)
    """
    embeddings: Tensor = cast(nn.Embedding, model.net.get_input_embeddings()).weight.detach()
    tokens = model.task.processor.convert_ids_to_tokens(range(len(embeddings)))
    special = set(model.task.processor.all_special_tokens)
    is_word = torch.tensor([t is not None and t not in special and t.lstrip("▁Ġ").isalpha() for t in tokens])
    is_word &= torch.bincount(ids, minlength=len(embeddings)) > 0
    words = is_word.nonzero().flatten()
    directions = functional.normalize(embeddings[words], dim=1)
    n_neighbours = min(N_NEIGHBOURS, len(words) - 1)
    table = torch.arange(len(embeddings))[:, None].repeat(1, max(n_neighbours, 1))
    for chunk in torch.arange(len(words)).split(CHUNK):
        similarity = directions[chunk] @ directions.T
        similarity[torch.arange(len(chunk)), chunk] = -1.0  # a word is not its own neighbour
        table[words[chunk]] = (
            words[similarity.topk(n_neighbours, dim=1).indices] if n_neighbours else table[words[chunk]]
        )
    return table


def _replaced(ids: Tensor, table: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Replace a share of the words by one of their neighbours."""
    choice = torch.randint(table.shape[1], ids.shape, generator=generator)
    is_chosen = torch.rand(ids.shape, generator=generator) < share
    return table[ids, choice].where(is_chosen, ids)


def _is_single(tokens: Tokens) -> bool:
    """Whether the examples are single texts, which have one segment."""
    return not ("token_type_ids" in tokens.flat and bool(tokens.flat["token_type_ids"].any()))


def _joined(tokens: Tokens, share: float, generator: torch.Generator) -> Tokens:
    """Extend a share of the texts by another one, between the same first and last special tokens."""
    n_examples = len(tokens.lengths)
    other = torch.randint(n_examples, (n_examples,), generator=generator)
    is_joined = torch.rand(n_examples, generator=generator) < share
    is_joined &= tokens.lengths + tokens.lengths[other] - 2 <= tokens.max_length
    ends, starts, lengths = (tokens.starts + tokens.lengths).tolist(), tokens.starts.tolist(), tokens.lengths.clone()
    lengths[is_joined] += tokens.lengths[other[is_joined]] - 2
    pieces: list[Tensor] = []
    positions = torch.arange(int(tokens.lengths.sum()))
    for index, (partner, is_long) in enumerate(zip(other.tolist(), is_joined.tolist(), strict=True)):
        pieces.append(positions[starts[index] : ends[index] - is_long])
        if is_long:
            pieces.append(positions[starts[partner] + 1 : ends[partner]])
    source = torch.cat(pieces)
    return replace(tokens, flat={name: flat[source] for name, flat in tokens.flat.items()}, lengths=lengths)
