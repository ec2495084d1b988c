"""Run a network on the same batches again and again, without the blocks whose outputs are known already."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compressor.errors import listed

Batches = Sequence[Mapping[str, Tensor]]


class _Reached(Exception):  # noqa: N818 - ends a forward call on purpose
    pass


class Replay:
    """A network, batches without labels, and the outputs of its first blocks for each of them."""

    def __init__(self, net: nn.Module, paths: Sequence[str], batches: Batches) -> None:
        self.net = net
        self.batches = [{name: tensor for name, tensor in batch.items() if name != "labels"} for batch in batches]
        self.blocks = self._in_order(paths) if batches else []
        """Paths of the blocks that are called once each, in the order of the calls."""
        self.known: list[dict[str, Any]] = [{} for _ in batches]
        """For each batch the outputs of blocks, by path."""

    def block_of(self, path: str) -> int:
        """Index of the block that has a layer; 0 if none has, as nothing can be left out then."""
        return next((i for i, block in enumerate(self.blocks) if path.startswith(f"{block}.")), 0)

    def run(self, index: int, n_blocks: int, until: str | None = None, *, keep: bool = False) -> Any:
        """Run a batch with the known outputs of the first blocks; stop without a result where a layer is called.

        ``keep`` remembers the outputs of the other blocks, whose weights must not change any more.
        """
        known = self.known[index]
        with torch.no_grad(), ExitStack() as stack:
            stack.enter_context(_answering(self.net, {block: known[block] for block in self.blocks[:n_blocks]}))
            for block in self.blocks[n_blocks:] if keep else ():
                hook = self.net.get_submodule(block).register_forward_hook(_remember(known, block))
                stack.callback(hook.remove)
            if until is not None:
                stack.callback(self.net.get_submodule(until).register_forward_pre_hook(_stop).remove)
            try:
                return self.net(**self.batches[index])
            except _Reached:
                return None

    def advance(self, n_blocks: int) -> None:
        """Compute the outputs of the first blocks with the weights as they are, as far as they are not known."""
        until = self.blocks[n_blocks] if n_blocks < len(self.blocks) else None
        for index, known in enumerate(self.known):
            if len(known) < n_blocks:
                self.run(index, len(known), until, keep=True)

    def _in_order(self, paths: Sequence[str]) -> list[str]:
        calls = list[str]()
        with ExitStack() as stack:
            for path in paths:
                hook = self.net.get_submodule(path).register_forward_pre_hook(lambda *_, path=path: calls.append(path))
                stack.callback(hook.remove)
            with torch.no_grad():
                self.net(**{name: tensor[:1] for name, tensor in self.batches[0].items()})
        once = list[str]()
        for path in calls:
            if calls.count(path) > 1:
                break
            once.append(path)
        return once


def in_order_of_calls(net: nn.Module, paths: Sequence[str], batch: Mapping[str, Tensor]) -> list[str]:
    """Sort layers by their first call; one that is not called at all is refused."""
    calls = dict[str, None]()
    with ExitStack() as stack:
        for path in paths:
            hook = net.get_submodule(path).register_forward_pre_hook(lambda *_, path=path: calls.setdefault(path))
            stack.callback(hook.remove)
        with torch.no_grad():
            net(**{name: tensor[:2] for name, tensor in batch.items() if name != "labels"})
    if idle := [path for path in paths if path not in calls]:
        raise ValueError(f"{listed(idle, most=3)}: not called by the network; leave its width out")
    return list(calls)


@contextmanager
def _answering(net: nn.Module, outputs: Mapping[str, Any]) -> Iterator[None]:
    """While open, blocks return what is given instead of computing anything."""
    modules = {path: net.get_submodule(path) for path in outputs}
    for path, module in modules.items():
        module.forward = lambda *_, output=outputs[path], **__: output
    try:
        yield
    finally:
        for module in modules.values():
            del module.forward


def _remember(known: dict[str, Any], path: str) -> Any:
    def remember(_: nn.Module, inputs: Any, output: Any) -> None:
        known[path] = output

    return remember


def _stop(*_: Any) -> None:
    raise _Reached
