"""Where the output of a layer enters a sum: the first layer that reads it plus something else."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

RTOL = 1e-3


def sum_after(net: nn.Module, path: str, batch: Mapping[str, Tensor]) -> str | None:
    """Find the first layer that is called after another one and reads its output plus something else.

    The output is moved by a random vector, and the layer is the first one whose input moves by just this vector. In a
    residual network it is mostly a normalisation or the next block. None if there is no such layer, as behind a batch
    norm.
    """
    example = {name: tensor[:2] for name, tensor in batch.items() if name != "labels"}
    with _inputs_after(net, path, None) as (before, outputs), torch.no_grad():
        net(**example)
    output = outputs[0]
    generator = torch.Generator().manual_seed(0)
    shape = [size if axis == _axis(net, path) % output.ndim else 1 for axis, size in enumerate(output.shape)]
    shift = torch.randn(shape, generator=generator, dtype=output.dtype) * output.std()
    with _inputs_after(net, path, shift) as (after, _), torch.no_grad():
        net(**example)
    for name, moved in after.items():
        still = before.get(name)
        if still is None or still.shape != output.shape or torch.equal(still, output):
            continue
        if torch.allclose(moved - still, shift.expand_as(moved), rtol=0, atol=RTOL * float(output.std())):
            return name
    return None


def _axis(net: nn.Module, path: str) -> int:
    """Axis of the features of a layer's output."""
    layer = net.get_submodule(path)
    return 1 if isinstance(layer, nn.Conv1d | nn.Conv2d) else -1


@contextmanager
def _inputs_after(net: nn.Module, path: str, shift: Tensor | None) -> Iterator[tuple[dict[str, Tensor], list[Tensor]]]:
    """While open, record what each module reads first after a layer was called, and move that layer's output."""
    found: dict[str, Tensor] = {}
    outputs: list[Tensor] = []
    handles = []

    def move(_: nn.Module, inputs: object, output: Tensor) -> Tensor:
        outputs.append(output)
        return output if shift is None else output + shift

    for name, module in net.named_modules():

        def see(_: nn.Module, inputs: tuple[object, ...], name: str = name) -> None:
            if outputs and inputs and isinstance(inputs[0], Tensor) and name not in found:
                found[name] = inputs[0].clone()

        if name and name != path:
            handles.append(module.register_forward_pre_hook(see))
    handles.append(net.get_submodule(path).register_forward_hook(move))
    try:
        yield found, outputs
    finally:
        for handle in handles:
            handle.remove()
