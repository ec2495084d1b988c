"""Describe a saved network or an ONNX file, layer by layer: widths, parameters, operations, bytes."""

from collections.abc import Iterable
from pathlib import Path

from torch import nn

from compressor import surgery
from compressor.bench.shape import Shape
from compressor.errors import InputError, unusable
from compressor.graphs import bounds, content, flops, shapes
from compressor.model import pretrained
from compressor.model.artifact import load
from compressor.model.checkpoint import WEIGHTS, arch_of
from compressor.model.outputs import flops_by_module
from compressor.report.inventory import GraphInventory, Inventory, NetworkInventory
from compressor.tasks import inputs_of

LENGTH = 32  # tokens of the text for which operations are counted, if the network reads as many


def take(path: Path) -> Inventory:
    """Describe a folder with a network in it, or an ONNX file.

    Parameters
    ----------
    path : Path
        A checkpoint of a supported family, cut or not; a folder with ``model.onnx``; or an ONNX file.

    Returns
    -------
    dict
        The output of ``compress inspect --json``; ``kind`` is "model" or "onnx".

    Raises
    ------
    InputError
        If there is nothing at the path, or it is damaged or of a family that is not supported.
    """
    if path.is_file():
        return _graph(path)
    if not path.is_dir():
        raise InputError(f"{path}: neither a folder nor a file; give a folder with a network, or an ONNX file")
    if (path / "model.onnx").is_file() and not any(path.glob(WEIGHTS)):
        return _graph(path / "model.onnx")
    return _network(path)


def _graph(file: Path) -> GraphInventory:
    """Describe an ONNX file: its content, and the facts that follow from it."""
    description = content.describe(file)
    rows, longest = bounds.input_facts(file), bounds.max_length(file)
    batch_size, length = _own_shape(file, min(LENGTH, longest or LENGTH))
    return {
        **description,
        "inputs": [
            {**declared, "below": rows.get(declared["name"], {}).get("below")} for declared in description["inputs"]
        ],
        "max_length": longest,
        "n_flops": flops.count(file, batch_size, length),
        "flops_at": Shape(batch_size, length).name,
    }


def _own_shape(file: Path, length: int) -> tuple[int, int | None]:
    """Return the batch size and the length that a file fixes; by default a batch of one, and the given length.

    Only texts have a length: inputs of whole numbers with two axes. The second axis of floats may count features,
    samples or frames, and no number of them is the usual one.
    """
    axes = shapes.axes(shapes.skeleton(file))
    texts = [each.shape[1] for each in axes.declared if len(each.shape) == 2 and each.is_whole]
    lengths = [size if isinstance(size, int) else length for size in texts]
    return axes.fixed_batch or 1, max(lengths, default=None)


def _network(folder: Path) -> NetworkInventory:
    net = load(folder)
    with unusable(f"{folder}: the network cannot be built or cannot answer"):
        original = pretrained.uncut(net)
        arch = arch_of(net.config.model_type)
        inputs = inputs_of(net.main_input_name)
        length = min(LENGTH, inputs.longest(net) or LENGTH)
        flops = flops_by_module(net, 1, length)
    parameters = list(net.named_parameters())  # tied ones once
    sizes_before = {width.name: width.size for width in arch.widths(original)}
    return {
        "kind": "model",
        "family": net.config.model_type,
        "class": type(net).__name__,
        "n_params": surgery.n_params(net),
        "n_params_original": surgery.n_params(original),
        "n_flops": flops[""],
        "flops_at": Shape(1, length if inputs.HAS_LENGTH else None).name,
        "size_bytes": sum(weights.nbytes for _, weights in parameters),
        "widths": [
            {
                "name": width.name,
                "kind": width.kind,
                "n_units": width.size,
                "n_units_original": sizes_before[width.name],
                "n_dead": int(surgery.dead_units(net, width).sum()),
            }
            for width in surgery.cuttable(net, arch.widths(net))
        ],
        "factorized": surgery.described(net),
        "layers": [
            {
                "name": name,
                "n_params": sum(weights.numel() for weights in members),
                "n_flops": flops.get(name, 0),
                "size_bytes": sum(weights.nbytes for weights in members),
            }
            for name, members in _grouped(parameters).items()
        ],
    }


def _grouped(parameters: Iterable[tuple[str, nn.Parameter]]) -> dict[str, list[nn.Parameter]]:
    layers: dict[str, list[nn.Parameter]] = {}
    for name, weights in parameters:
        layers.setdefault(content.layer_of(name), []).append(weights)
    return layers
