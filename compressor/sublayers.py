"""The widths of the sub-layers that most families share, from the paths of their layers."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from compressor.surgery import Cut, Width


def neurons(net: nn.Module, name: str, producers: str | Sequence[str], consumer: str) -> Width:
    """Neurons of a feed-forward block; a gated one has two producers."""
    paths = (producers,) if isinstance(producers, str) else tuple(producers)
    size = _n_out(net, paths[0])
    return Width(name, "neuron", size, tuple(Cut(path, "out") for path in paths), (Cut(consumer, "in"),))


def heads(net: nn.Module, name: str, query: str, key: str, value: str, output: str, span: int) -> Width:
    """Heads of an attention, each ``span`` entries of every layer."""
    return Width(
        name,
        "head",
        _n_out(net, query) // span,
        (Cut(query, "out", span, role="routes"), Cut(key, "out", span, role="routes"), Cut(value, "out", span)),
        (Cut(output, "in", span),),
    )


def groups(net: nn.Module, prefix: str, query: str, key: str, value: str, output: str, span: int) -> list[Width]:
    """Key-value groups of an attention; where several query heads share one, also one query head of every group."""
    n_groups = _n_out(net, key) // span
    n_sharing = _n_out(net, query) // span // max(1, n_groups)
    shared = n_sharing * span
    whole = Width(
        f"{prefix}.heads",
        "group",
        n_groups,
        (Cut(query, "out", shared, role="routes"), Cut(key, "out", span, role="routes"), Cut(value, "out", span)),
        (Cut(output, "in", shared),),
    )
    if n_sharing <= 1:
        return [whole]
    sharing = Width(
        f"{prefix}.group_heads",
        "head",
        n_sharing,
        (Cut(query, "out", span, repeat=n_groups, role="routes"),),
        (Cut(output, "in", span, repeat=n_groups),),
    )
    return [whole, sharing]


def head_dims(net: nn.Module, name: str, query: str, key: str, value: str, output: str, span: int) -> Width:
    """Dimensions that all heads of an attention have; not where positions rotate pairs of them."""
    n_heads = _n_out(net, query) // span
    return Width(
        name,
        "dimension",
        span,
        (
            Cut(query, "out", repeat=n_heads, role="scores"),
            Cut(key, "out", repeat=n_heads, role="scores"),
            Cut(value, "out", repeat=n_heads),
        ),
        (Cut(output, "in", repeat=n_heads),),
    )


def residual(
    name: str, size: int, producers: Sequence[str], carriers: Sequence[str], consumers: Sequence[str]
) -> Width:
    """Dimensions of a sum that every layer reads through a normalisation and adds to."""
    return Width(
        name,
        "dimension",
        size,
        tuple(Cut(path, "out") for path in producers),
        tuple(Cut(path, "in") for path in consumers),
        tuple(Cut(path, "out") for path in carriers),
        exact=False,
    )


def channels(
    net: nn.Module,
    name: str,
    producers: Sequence[str],
    carriers: Sequence[str],
    consumers: Sequence[str],
    exact: bool = True,
) -> Width:
    """Channels that convolutions write and read; batch norms and depthwise convolutions between them carry them."""
    return Width(
        name,
        "channel",
        int(net.get_submodule(producers[0]).out_channels),
        tuple(Cut(path, "out") for path in producers),
        tuple(Cut(path, "in") for path in consumers),
        tuple(Cut(path, "out") for path in carriers),
        exact,
    )


def body(net: nn.Module) -> str:
    """Path of the network without its head, to put before the paths of its layers."""
    return "" if net.base_model is net else f"{net.base_model_prefix}."


def head(net: nn.Module) -> list[str]:
    """Paths of the layers outside the body, for heads that are one layer on each output of it."""
    at = body(net)
    is_layer = {name: isinstance(module, nn.Linear | nn.Conv2d) for name, module in net.named_modules()}
    return [name for name in is_layer if is_layer[name] and at and not name.startswith(at)]


def present(net: nn.Module, *paths: str) -> list[str]:
    """Pick the paths that lead to a layer with weights: heads differ in what they are made of."""
    modules = dict(net.named_modules())
    return [path for path in paths if hasattr(modules.get(path), "weight")]


def _n_out(net: nn.Module, path: str) -> int:
    layer: Any = net.get_submodule(path)
    return int(layer.out_features)
