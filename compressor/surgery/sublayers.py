"""The widths of the sub-layers that most families share, from the paths of their layers."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from compressor.surgery.widths import Cut, Width

ATTENTION = ("heads", "cross_heads", "group_heads", "head_dims", "cross_head_dims")  # `what` of its widths


def of_attention(width: Width) -> bool:
    """Whether the units are heads of an attention or dimensions of them, so that cutting them changes its counts."""
    return width.what in ATTENTION


def neurons(net: nn.Module, layer: str, producers: str | Sequence[str], consumer: str) -> Width:
    """Neurons of a feed-forward block, ``ffn``; a gated one has two producers."""
    paths = (producers,) if isinstance(producers, str) else tuple(producers)
    cuts = tuple(Cut(path, "out") for path in paths)
    return Width(f"{layer}.ffn", "neuron", _n_out(net, paths[0]), cuts, (Cut(consumer, "in"),), layer=layer)


def heads(
    net: nn.Module, layer: str, query: str, key: str, value: str, output: str, span: int, what: str = "heads"
) -> Width:
    """Heads of an attention, each ``span`` entries of every projection."""
    return Width(
        f"{layer}.{what}",
        "head",
        _n_out(net, query) // span,
        (Cut(query, "out", span, role="routes"), Cut(key, "out", span, role="routes"), Cut(value, "out", span)),
        (Cut(output, "in", span),),
        layer=layer,
    )


def groups(
    layer: str,
    query: str,
    key: str,
    value: str,
    output: str,
    *,
    n_groups: int,
    n_sharing: int,
    span: int,
    offsets: tuple[int, int, int] = (0, 0, 0),
) -> list[Width]:
    """Key-value groups of an attention, and its query heads: ``n_sharing`` per group, cut from all groups at once.

    In a fused layer ``offsets`` are the first rows of query, key and value.
    """
    at_query, at_key, at_value = offsets
    shared = n_sharing * span
    whole = Width(
        f"{layer}.heads",
        "group",
        n_groups,
        (
            Cut(query, "out", shared, at_query, role="routes"),
            Cut(key, "out", span, at_key, role="routes"),
            Cut(value, "out", span, at_value),
        ),
        (Cut(output, "in", shared),),
        layer=layer,
    )
    sharing = Width(
        f"{layer}.group_heads",
        "head",
        n_sharing,
        (Cut(query, "out", span, at_query, repeat=n_groups, role="routes"),),
        (Cut(output, "in", span, repeat=n_groups),),
        layer=layer,
        crosses=True,
    )
    return [whole, sharing]


def head_dims(
    net: nn.Module, layer: str, query: str, key: str, value: str, output: str, span: int, what: str = "head_dims"
) -> Width:
    """Dimensions shared by all heads of an attention; not for heads whose positions rotate pairs of them."""
    n_heads = _n_out(net, query) // span
    return Width(
        f"{layer}.{what}",
        "dimension",
        span if n_heads else 0,
        (
            Cut(query, "out", repeat=n_heads, role="scores"),
            Cut(key, "out", repeat=n_heads, role="scores"),
            Cut(value, "out", repeat=n_heads),
        ),
        (Cut(output, "in", repeat=n_heads),),
        layer=layer,
        crosses=True,
    )


def residual(
    size: int,
    producers: Sequence[str],
    carriers: Sequence[str],
    consumers: Sequence[str],
    *,
    layer: str = "",
    what: str = "residual",
) -> Width:
    """Dimensions of a sum that every layer adds to and reads, mostly through a normalisation."""
    return Width(
        f"{layer}.{what}" if layer else what,
        "dimension",
        size,
        tuple(Cut(path, "out") for path in producers),
        tuple(Cut(path, "in") for path in consumers),
        tuple(Cut(path, "out") for path in carriers),
        exact=not carriers,
        layer=layer,
        crosses=True,
    )


def streams(
    net: nn.Module, entry: Sequence[list[str]], projection: str | None, inner: Sequence[list[str]]
) -> list[Width]:
    """List the residual width, and that of the embeddings if there is a projection between the two.

    ``entry`` contains the producers, carriers and consumers of the embeddings, a table first, ``inner`` those of the
    sum.
    """
    table: Any = net.get_submodule(entry[0][0])
    if projection is None:
        both = (at_entry + within for at_entry, within in zip(entry, inner, strict=True))
        return [residual(table.embedding_dim, *both)]
    writers, norms, readers = entry
    embedding = residual(table.embedding_dim, writers, norms, [projection, *readers], what="embedding")
    return [embedding, residual(_n_out(net, projection), [projection, *inner[0]], *inner[1:])]


def channels(
    net: nn.Module,
    layer: str,
    producers: Sequence[str],
    carriers: Sequence[str],
    consumers: Sequence[str],
    *,
    what: str = "channels",
    exact: bool = True,
) -> Width:
    """Channels that convolutions write and read; batch norms and depthwise convolutions between them carry them."""
    first: Any = net.get_submodule(producers[0])
    return Width(
        f"{layer}.{what}",
        "channel",
        int(first.out_channels),
        tuple(Cut(path, "out") for path in producers),
        tuple(Cut(path, "in") for path in consumers),
        tuple(Cut(path, "out") for path in carriers),
        exact,
        layer,
    )


def named(net: nn.Module, *names: str) -> list[str]:
    """Paths of the body's layers with one of these names, in the network's order."""
    paths = (path for path, _ in net.named_modules() if path.startswith(body(net)))
    return [path for path in paths if path.rpartition(".")[2] in names]


def number_slots_(attentions: Sequence[Any], n_heads: Sequence[int], types: Sequence[str] | None = None) -> None:
    """Assign attentions their slots in a cache of keys and values, those without heads last of their type.

    transformers 5 reads the length of a dynamic cache from its first slot, and treats it as unused while it is empty.
    ``types`` are the types of the slots if they differ: a sliding window keeps a slot of its type.
    """
    types = types or [""] * len(attentions)
    for kind in set(types):
        slots = [slot for slot, type_ in enumerate(types) if type_ == kind]
        for slot, index in zip(slots, sorted(slots, key=lambda slot: n_heads[slot] == 0), strict=True):
            attentions[index].layer_idx = slot


def body(net: nn.Module) -> str:
    """Prefix of the paths of the layers of the network without its head."""
    return "" if net.base_model is net else f"{net.base_model_prefix}."


def head(net: nn.Module) -> list[str]:
    """Paths of the layers outside the body, for heads with one layer per output of the body."""
    at = body(net)
    is_layer = {name: isinstance(module, nn.Linear | nn.Conv2d) for name, module in net.named_modules()}
    return [name for name in is_layer if is_layer[name] and at and not name.startswith(at)]


def present(net: nn.Module, *paths: str) -> list[str]:
    """Select the paths of layers that exist and have weights: heads consist of different layers."""
    modules = dict(net.named_modules())
    return [path for path in paths if hasattr(modules.get(path), "weight")]


def _n_out(net: nn.Module, path: str) -> int:
    layer: Any = net.get_submodule(path)
    return int(layer.nf if isinstance(layer, Conv1D) else layer.out_features)
