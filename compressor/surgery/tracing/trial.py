"""Try widths: a copy of the network must run without one unit of each."""

from collections.abc import Sequence

import torch
from torch import nn

from compressor.surgery.cutting import cut_
from compressor.surgery.twin import twin
from compressor.surgery.units import Example, forward
from compressor.surgery.widths import Width


def failures(net: nn.Module, example: Example, widths: Sequence[Width]) -> dict[Width, str]:
    """Map the widths without one of whose units the network fails, because its code names a size, to the error."""
    if any(tensor.is_meta for tensor in net.parameters()) or _error(net, example, widths) is None:
        return {}  # on the meta device nothing runs
    errors = ((width, _error(net, example, [width])) for width in widths)
    return {width: f"the network fails without one of them: {error}" for width, error in errors if error}


@torch.no_grad()
def _error(net: nn.Module, example: Example, widths: Sequence[Width]) -> str | None:
    """Cut the last unit of each width from a copy, and run it; return the first line of the error if it fails."""
    copy = twin(net).eval()
    cut_(copy, [(width, torch.arange(width.size, device="cpu") < max(1, width.size - 1)) for width in widths])
    try:
        forward(copy, example)
    except Exception as error:  # whatever a network may raise
        return next(iter(str(error).splitlines()), type(error).__name__)
    return None
