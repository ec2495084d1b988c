"""The `export.json` with which `ExportedModel` of transformers' exporters opens our folders and runs their files."""

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, treespec_dumps
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from compressor.files import write_json

FILE = "export.json"
_SCHEMA = 1  # of the format below, not of the installed transformers: later versions read it by this number
_PACKAGES = ("onnxscript", "torch", "transformers")


def write(
    graph: Path, net: PreTrainedModel, example: Mapping[str, Tensor], output: ModelOutput, settings: Mapping[str, Any]
) -> None:
    """Describe an exported file, in its folder.

    Parameters
    ----------
    graph : Path
        The ONNX file.
    net : PreTrainedModel
        The network that was traced.
    example : Mapping of str to Tensor
        The inputs with which it was traced.
    output : ModelOutput
        The output for these inputs: the reader gets the file's outputs in the same form.
    settings : Mapping of str to JSON values
        Options of the export to record, under the names of transformers' ``OnnxConfig``.
    """
    metadata = {
        "architecture": type(net).__name__,
        "packages": {name: version(name) for name in _PACKAGES},
        "export_config": {"export_format": "onnx", **settings},
        "export_dtype": _dtype_name(next(net.parameters())),
        "export_device": "cpu",
        "kwargs": {name: _described(values) for name, values in example.items()},
        "in_spec": treespec_dumps(tree_flatten(((), dict(example)))[1]),
        "out_spec": treespec_dumps(tree_flatten(output)[1]),
        "in_constants": {},
        "out_constants": [],
    }
    components = {"model": {"file": graph.name, "metadata": metadata}}
    document = {"schema_version": _SCHEMA, "export_format": "onnx", "components": components}
    write_json(graph.with_name(FILE), document)
    _add_data_file(graph)


def copy(graph: Path, quantized: Path) -> None:
    """Describe a quantized file, which has the name, the inputs and the outputs of the exported one."""
    shutil.copy(graph.with_name(FILE), quantized.parent)
    _add_data_file(quantized)


def _add_data_file(graph: Path) -> None:
    """Write an empty ``model.onnx.data`` if the weights are in the graph: the loader requires such a file."""
    graph.with_name(f"{graph.name}.data").touch()


def _described(values: Tensor) -> dict[str, Any]:
    return {"rank": values.dim(), "shape": list(values.shape), "dtype": _dtype_name(values)}


def _dtype_name(values: Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")
