"""Keep less between the forward and the backward pass of a training step, with the same results."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.overrides import TorchFunctionMode

SMALL = 2**22  # parameters below which a network is left alone: looking at each call takes longer than it saves
Packed = Tensor | Callable[[], Tensor]  # what is kept of a tensor: itself, or a way to compute it again


def _nothing(kept: Tensor) -> None:
    pass


@contextmanager
def keeping_less(net: nn.Module, seen: Callable[[Tensor], object] = _nothing) -> Iterator[None]:
    """Keep less for the backward pass of what runs in the context; networks with few parameters are left alone.

    A linear layer under autocast keeps its weight in bf16 until its backward pass, and each layer a copy of its own
    of an input that several read; weights are cast again instead, and one copy serves all. The noise of dropout is kept
    as bits. GELU keeps its input, and the layer after it its result, which is computed again. On the CPU, attention
    with dropout keeps all that it computes in float32; see `_DroppedAttention`. All results are torch's to the bit.

    ``seen`` is called with each tensor that is kept here, for one who counts them: a hook around the context sees the
    others only.
    """
    if sum(parameter.numel() for parameter in net.parameters()) < SMALL:
        yield
        return
    lean = _Lean(seen)
    with lean:
        yield
    lean.reading = lean.copied = lean.activated = None


class _Lean(TorchFunctionMode):
    """Replaces what four functions keep."""

    def __init__(self, seen: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.seen = seen
        self.reading: tuple[Tensor, Tensor] | None = None
        """Input and weight of the linear layer that runs; not in the hook, which lives as long as what it packs."""
        self.copied: _Copied | None = None
        self.activated: _Activated | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        call = partial(func, *args, **(kwargs or {}))
        if func is functional.linear and len(args) > 1 and _is_told_apart(*args[:2]):
            self.reading = args[0], args[1]
            with saved_tensors_hooks(self._of_linear, _unpacked):
                return call()
        if func is functional.dropout:
            with saved_tensors_hooks(self._bits, _unpacked):
                return call()
        if func is functional.scaled_dot_product_attention:
            attended = _attention(*call.args, **call.keywords)
            return call() if attended is None else attended
        result = call()
        if func is functional.gelu and args and result.requires_grad:
            self.activated = _Activated(result, partial(func, args[0].detach(), **call.keywords))
        return result

    def _of_linear(self, kept: Tensor) -> Packed:
        packed = self._packed(kept)
        if isinstance(packed, Tensor):
            self.seen(packed)
        return packed

    def _packed(self, kept: Tensor) -> Packed:
        """Pack what a linear layer keeps: its input and its transposed weight, or copies of them in another type."""
        assert self.reading is not None
        source, weight = self.reading
        wide = weight.detach().t()
        if kept.dtype != wide.dtype and (kept.shape, kept.stride()) == (wide.shape, wide.stride()):
            return partial(wide.to, kept.dtype)
        if self.activated is not None and self.activated.made(kept):
            again, self.activated = self.activated.again, None
            return partial(_in_shape, again, kept.shape)
        if kept.dtype == source.dtype or kept.numel() != source.numel():
            return kept
        if self.copied is None or not self.copied.is_of(source, kept):
            self.copied = _Copied(source, source._version, kept)
        return self.copied.copy  # others that read the same input keep the same copy

    def _bits(self, noise: Tensor) -> Packed:
        """Pack the noise of dropout, which is zero or one other number."""
        bits, number = noise.bool(), noise.max()
        self.seen(bits)
        return lambda: bits.to(number.dtype).mul_(number)


def _is_told_apart(source: Tensor, weight: Tensor) -> bool:
    """Whether a copy of the weight of a linear layer can be told by its strides from one of the input."""
    return isinstance(weight, nn.Parameter) and min(weight.shape) > 1 and source.is_contiguous()


@dataclass(frozen=True)
class _Copied:
    """An input of linear layers, and its copy in another type."""

    source: Tensor
    version: int
    copy: Tensor

    def is_of(self, source: Tensor, kept: Tensor) -> bool:
        is_alike = (kept.shape, kept.dtype) == (self.copy.shape, self.copy.dtype)
        return is_alike and self.source is source and self.version == source._version


@dataclass(frozen=True)
class _Activated:
    """The result of an activation that keeps its own input, so that it can be computed again."""

    result: Tensor
    again: Callable[[], Tensor]

    def made(self, kept: Tensor) -> bool:
        is_same = (kept.data_ptr(), kept.numel()) == (self.result.data_ptr(), self.result.numel())
        return is_same and kept.dtype == self.result.dtype and self.result._version == 0


def _unpacked(packed: Packed) -> Tensor:
    return packed if isinstance(packed, Tensor) else packed()


def _in_shape(again: Callable[[], Tensor], shape: torch.Size) -> Tensor:
    return again().view(shape)


def _is_dropped_on_cpu(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, scale: float | None
) -> bool:
    """Whether torch would compute this attention step by step, in a form that `_DroppedAttention` has."""
    has_learned_mask = mask is not None and mask.requires_grad
    is_plain = not (has_learned_mask or (scale is not None and scale <= 0)) and 0 < dropout < 1
    wanted = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    is_known = {query.dtype, key.dtype, value.dtype} == {wanted} and wanted in (torch.float32, torch.bfloat16)
    return is_plain and is_known and query.device.type == "cpu"


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    """Compute attention with dropout on the CPU as torch does; None for what torch computes in another way."""
    if enable_gqa or not _is_dropped_on_cpu(query, key, value, attn_mask, dropout_p, scale):
        return None
    if is_causal:
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, -torch.inf)
    if attn_mask is not None:
        attn_mask = attn_mask.to(query.dtype)
    root = (query.shape[-1] ** -0.5 if scale is None else scale) ** 0.5
    with torch.autocast("cpu", enabled=False):  # torch's own attention computes in float32 inside
        apply: Callable[..., Tensor] = _DroppedAttention.apply
        return apply(query, key, value, attn_mask, dropout_p, root)


class _DroppedAttention(torch.autograd.Function):
    """The steps of torch's own attention on the CPU, with the same random numbers.

    Torch keeps, in float32, scaled queries and keys, values, weights, the noise of dropout, and their product. Here
    queries, keys and values stay as they came, the noise is kept as bits, and the product is computed again.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, root: float
    ) -> Tensor:
        scores = _scaled(query, root) @ _scaled(key, root).transpose(-2, -1)
        if mask is not None:
            scores += mask
        weights = torch._safe_softmax(scores, -1)
        del scores
        kept = torch.empty_like(weights).bernoulli_(1 - dropout)
        ctx.save_for_backward(query, key, value, weights, kept.bool())
        ctx.root, ctx.share = root, 1 - dropout
        return (kept.div_(ctx.share).mul_(weights) @ value.float()).to(query.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights, kept = ctx.saved_tensors
        noise, grad = kept.to(weights.dtype).div_(ctx.share), grad.to(weights.dtype)
        to_value = (weights * noise).transpose(-2, -1) @ grad
        to_scores = (grad @ value.float().transpose(-2, -1)).mul_(noise)
        del noise
        to_scores = torch._softmax_backward_data(to_scores, weights, -1, weights.dtype)
        to_query = (to_scores @ _scaled(key, ctx.root)).mul_(ctx.root)
        to_key = (to_scores.transpose(-2, -1) @ _scaled(query, ctx.root)).mul_(ctx.root)
        return to_query.to(query.dtype), to_key.to(key.dtype), to_value.to(value.dtype), None, None, None


def _scaled(vectors: Tensor, root: float) -> Tensor:
    """Multiply in float32."""
    return vectors.float() * root
