"""What the units of widths cost: floating-point operations, shared out among the units of their layers."""

from collections.abc import Sequence

from torch import nn

from compressor.model import Model
from compressor.model.outputs import flops_by_module
from compressor.surgery import Width, layers

LENGTH = 128  # tokens of a text for which operations are counted, or fewer where a network reads no more


def flops_per_unit(model: Model, widths: Sequence[Width]) -> dict[str, float]:
    """Count the operations that one unit of each width takes in one inference.

    Every layer that writes or reads the units counts by the share of its weights that a unit has; of heads and groups,
    the products of the attention count too. Where two widths meet in a layer, each counts at the full size of the
    other.
    """
    counts = flops_by_module(model.net, 1, min(LENGTH, model.task.inputs.longest(model.net) or LENGTH))
    return {width.name: _of_unit(model.net, width, counts) for width in widths}


def _of_unit(net: nn.Module, width: Width, counts: dict[str, int]) -> float:
    total = 0.0
    for cut in width.everywhere:
        weights = layers.slots(net, width, cut)[0].tensor
        own = layers.weights(net, width, cut)[:1].numel()
        total += counts.get(cut.module, 0) * own / max(weights.numel(), 1)
    if width.kind in ("head", "group") and not width.crosses:
        total += _of_products(width, counts) / width.size
    return total


def _of_products(width: Width, counts: dict[str, int]) -> float:
    """Operations of an attention outside its layers."""
    at = width.producers[0].module.rpartition(".")[0]
    inner = [count for path, count in counts.items() if path.startswith(f"{at}.") and "." not in path[len(at) + 1 :]]
    return max(0.0, counts.get(at, 0) - sum(inner))
