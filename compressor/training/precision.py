"""When to use bf16 autocast: if the device computes in it, and the layers are wide enough."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

NARROW = 256  # below this width, casting costs more than faster products save


def chosen(net: nn.Module, wanted: str) -> str:
    """Resolve `auto` to `bf16` or `fp32` for this network and device."""
    if wanted != "auto":
        return wanted
    widest = max((_n_products(layer) for layer in net.modules() if isinstance(layer, nn.Linear | nn.Conv2d)), default=0)
    return "bf16" if widest >= NARROW and _computes_in_bf16(next(net.parameters()).device) else "fp32"


def _n_products(layer: nn.Linear | nn.Conv2d) -> int:
    """Count the products that are summed into one output of a layer."""
    return layer.weight[0].numel()


def autocast(net: nn.Module, precision: str) -> AbstractContextManager[object]:
    """Return a context in which the forward pass of a network runs in the given precision."""
    if precision == "fp32":
        return nullcontext()
    device = next(net.parameters()).device.type
    return torch.autocast(device, dtype=torch.bfloat16, cache_enabled=False)  # the cache would hold all weights twice


def _computes_in_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
