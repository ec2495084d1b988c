"""Run a network on the same batches again and again, without computing what is known already."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from compressor.errors import listed

Batches = Sequence[Mapping[str, Tensor]]


class _Reached(Exception):  # noqa: N818 - ends a forward call on purpose
    pass


class Replay:
    """A network, batches without labels, and for each of them the outputs of the modules that are known.

    What is known is what comes before one layer: a module that ended before that layer was called is not called
    again, but answers what it did.
    """

    def __init__(self, net: nn.Module, batches: Batches) -> None:
        self.net = net
        self.batches = [{name: tensor for name, tensor in batch.items() if name != "labels"} for batch in batches]
        self.known: list[dict[str, Any]] = [{} for _ in batches]
        calls = Counter(_calls(net, [name for name, _ in net.named_modules() if name], self.batches[-1]))
        self.once = [name for name, n_calls in calls.items() if n_calls == 1]

    def advance(self, path: str) -> None:
        """Compute everything that comes before the call of a layer; its weights must not change any more."""
        for index, known in enumerate(self.known):
            with ExitStack() as stack:
                for name in self.once:
                    if not _is_inside(name, known):
                        hook = self.net.get_submodule(name).register_forward_hook(_remember(known, name))
                        stack.callback(hook.remove)
                self.run(index, path)
            for name in [name for name in known if _is_inside(name.rpartition(".")[0], known)]:
                del known[name]  # the module around it answers

    def run(self, index: int, until: str | None = None) -> Any:
        """Run a batch from what is known on; stop without a result where a layer is called."""
        with torch.no_grad(), ExitStack() as stack:
            stack.enter_context(_answering(self.net, self.known[index]))
            if until is not None:
                stack.callback(self.net.get_submodule(until).register_forward_pre_hook(_stop).remove)
            try:
                return self.net(**self.batches[index])
            except _Reached:
                return None


def in_order_of_calls(net: nn.Module, paths: Sequence[str], batch: Mapping[str, Tensor]) -> list[str]:
    """Sort layers by their first call; one that is not called at all is refused."""
    calls = list(dict.fromkeys(_calls(net, paths, batch)))
    if idle := [path for path in paths if path not in calls]:
        raise ValueError(f"{listed(idle, most=3)}: not called by the network; leave its width out")
    return calls


def _calls(net: nn.Module, paths: Sequence[str], batch: Mapping[str, Tensor]) -> list[str]:
    """List the calls of modules on two examples, in their order."""
    calls = list[str]()
    with torch.no_grad(), ExitStack() as stack:
        for path in paths:
            hook = net.get_submodule(path).register_forward_pre_hook(lambda *_, path=path: calls.append(path))
            stack.callback(hook.remove)
        net(**{name: tensor[:2] for name, tensor in batch.items() if name != "labels"})
    return calls


def _is_inside(name: str, modules: Mapping[str, Any]) -> bool:
    """Whether a module is one of some modules, or in one of them."""
    parts = name.split(".")
    return any(".".join(parts[:n]) in modules for n in range(1, len(parts) + 1))


@contextmanager
def _answering(net: nn.Module, outputs: Mapping[str, Any]) -> Iterator[None]:
    """While open, modules return what is given instead of computing anything."""
    modules = {path: net.get_submodule(path) for path in outputs}
    for path, module in modules.items():
        module.forward = lambda *_, output=outputs[path], **__: _copy(output)
    try:
        yield
    finally:
        for module in modules.values():
            del module.forward


def _copy(output: Any) -> Any:
    """Copy tensors: a network may change what a module gave it."""
    return tree_map_only(torch.Tensor, torch.clone, output)


def _remember(known: dict[str, Any], path: str) -> Callable[..., None]:
    def remember(_: nn.Module, inputs: Any, output: Any) -> None:
        known[path] = _copy(output)

    return remember


def _stop(*_: Any) -> None:
    raise _Reached
