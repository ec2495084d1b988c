"""Solve for the weights of consumers again, layer by layer, so that the network computes what it did."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from compressor.numerics.least_squares import Sums, refit
from compressor.pruning.replay import Batches, Replay, in_order_of_calls
from compressor.pruning.sums import sum_after
from compressor.surgery import readers

DAMPING = 0.01  # of the mean diagonal


@torch.no_grad()
def refit_(net: nn.Module, dense: nn.Module, paths: Sequence[str], batches: Batches) -> None:
    """Solve for the weights and biases of layers, first layer first, on calibration rows.

    Each layer is given what it reads in the pruned network, so that it makes up for what the layers before it do
    otherwise. If its output enters a sum, it is solved for so that the sum is that of the dense network; else for the
    output alone. Columns of zeros stay zero.

    Parameters
    ----------
    net : nn.Module
        The pruned network, in evaluation mode; the weights and biases of the layers are changed in place.
    dense : nn.Module
        The network before.
    paths : sequence of str
        The layers, in any order.
    batches : sequence of mapping of str to Tensor
        Calibration rows.
    """
    pruned, whole = Replay(net, batches), Replay(dense, batches)
    for path in in_order_of_calls(net, paths, batches[0]):
        for replay in (pruned, whole):
            replay.advance(path)
        layer = net.get_submodule(path)
        matrix, bias = readers.matrix_of(layer), layer.bias
        live = matrix.any(dim=1)
        solved, shift = refit(_sums(pruned, whole, path, live), matrix[live], bias is not None, DAMPING)
        matrix[live] = solved
        readers.set_matrix_(layer, matrix)
        if isinstance(bias, Tensor):
            bias.copy_(shift)


def _sums(pruned: Replay, whole: Replay, path: str, live: Tensor) -> Sums:
    """Sum up what a layer reads in the pruned network, of its live inputs, and what it should answer."""
    at, layer = sum_after(whole.net, path, whole.batches[-1]), pruned.net.get_submodule(path)
    sums = Sums.none(int(live.sum()), readers.n_outputs(layer))
    for index, batch in enumerate(pruned.batches):
        mask = batch.get("attention_mask")
        real = mask.bool() if isinstance(mask, Tensor) and mask.ndim == 2 else None
        with _recorded(whole.net, path, at) as expected:
            whole.run(index, at)
        with _recorded(pruned.net, path, at) as seen:
            pruned.run(index, at)
        wanted = expected.outputs
        if at is not None:  # the sum, less what else the pruned network adds up
            wanted = [expected.totals[0] - (seen.totals[0] - seen.outputs[0])]
        for inputs, answer in zip(seen.inputs, wanted, strict=True):
            sums.add_(readers.vectors(layer, inputs, real)[:, live], readers.answers(layer, answer, real))
    return sums


@dataclass
class _Calls:
    """What a layer read and returned at each call, and the inputs of the layer that reads the sum."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    totals: list[Tensor] = field(default_factory=list)


@contextmanager
def _recorded(net: nn.Module, path: str, at: str | None) -> Iterator[_Calls]:
    calls = _Calls()

    def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.inputs.append(inputs[0])
        calls.outputs.append(output)

    def keep_total(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        if calls.outputs:
            calls.totals.append(inputs[0])

    with ExitStack() as stack:
        stack.callback(net.get_submodule(path).register_forward_hook(keep).remove)
        if at is not None:
            stack.callback(net.get_submodule(at).register_forward_pre_hook(keep_total).remove)
        yield calls
