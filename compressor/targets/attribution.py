"""How many FLOPs of an exported file each unit of a width accounts for.

The counts of the network itself would not do: the export leaves out rows that nothing reads, so that the last layer of
a text classifier computes one row only.
"""

from collections.abc import Mapping, Sequence

from compressor.graphs import flops
from compressor.model import Model, OnnxGraph
from compressor.model.outputs import flops_by_module
from compressor.surgery import Width
from compressor.targets.cutting import cut_copy

BATCH_SIZE, LENGTH = 1, 16  # at which the share of a module that a width has is counted; any would do
Flops = Mapping[str, float]


def per_unit(
    model: Model, graph: OnnxGraph, widths: Sequence[Width], batch_size: int, length: int | None
) -> dict[str, float]:
    """Count the FLOPs that a file saves with each unit of a width, the others being whole.

    Parameters
    ----------
    model : Model
        The network that was exported.
    graph : OnnxGraph
        Its file, with the modules of its operations.
    widths : sequence of Width
        Some of its widths.
    batch_size, length : int
        Size of the inputs; no length for images and tables.

    Returns
    -------
    dict from name to float
        If the FLOPs of the file cannot be counted, those of the network.
    """
    before = _of_modules(model)
    counted = flops.by_node(graph.path, batch_size, length)
    in_file = before if counted is None else _in_file(counted, graph.modules)
    found = {}
    for width in widths:
        after = _of_modules(cut_copy(model, {width.name: 1}, empty_on="meta"))
        saved = sum(n * (1 - after.get(path, 0.0) / before[path]) for path, n in in_file.items() if before.get(path))
        found[width.name] = saved / max(1, width.size - 1)
    return found


def _in_file(counted: Sequence[tuple[str, int]], modules: Mapping[str, str]) -> dict[str, float]:
    """Add up the FLOPs of the operations of each module."""
    total: dict[str, float] = {}
    for name, n_flops in counted:
        total[modules.get(name, "")] = total.get(modules.get(name, ""), 0.0) + n_flops
    return total


def _of_modules(model: Model) -> dict[str, float]:
    """Count the FLOPs of each module of a network without those of the modules in it."""
    whole = flops_by_module(model.net, BATCH_SIZE, LENGTH)
    own = {path: float(n_flops) for path, n_flops in whole.items()}
    for path, n_flops in whole.items():
        outer = path
        while outer:
            outer = outer.rpartition(".")[0]
            if outer in own:  # the nearest module around it that computes anything
                own[outer] -= n_flops
                break
    return own
