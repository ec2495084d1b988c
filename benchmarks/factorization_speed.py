"""Times of factorized layers in onnxruntime, over those of the dense layers, and what `Prices` predicts of them.

The part `speed` of factorizations.py. Both files of a pair run in this process on one thread, one
after the other, round by round; each ratio is of one round, and the median is kept. A product of other weights runs
before each, so that no weights are in the core's cache, as in a network; a second run, with its weights there, is the
warm one, for which the limits are. The clock is the thread's, which stops while other jobs run.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, cast

import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from compressor import factorizations
from compressor.factorizations import Factorization
from compressor.graphs.rewrite import rewrite_
from compressor.measure import prices
from compressor.measure.prices import Prices
from compressor.model.quiet import exporter_quiet, quantizer_quiet
from compressor.nn import FactorizedConv2d, FactorizedLinear
from compressor.plugins import discover
from compressor.quantizers import dynamic

FILES = discover(factorizations, Factorization)
LINEAR = [(1536, 384), (384, 1536)]  # n_out, n_in
TOKENS = {"A": (1, 32), "B": (8, 128)}
IMAGES = [(64, 56), (128, 28), (256, 14)]  # channels, height and width
OPERATORS = {"MatMul", "Conv", "Reshape", "Transpose", "Add"}
Row = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """A form of a layer, with the largest ratio that it may have."""

    name: str
    method: str
    rank: Any = None
    budget: float = 0.25
    arguments: Mapping[str, Any] = field(default_factory=dict)
    limit: float | None = None
    int8_limit: float | None = None


def linear_forms(shape: tuple[int, int]) -> Iterator[Form]:
    """Yield the forms of a linear layer: first those with a limit."""
    n_out, n_in = shape
    modes = {"modes": ((32, 48), (16, 24)) if n_out > n_in else ((16, 24), (32, 48))}
    yield Form("SVD 25 %", "svd", limit=0.32, int8_limit=0.16)
    yield Form("SVD 50 %", "svd", budget=0.5, limit=0.58)
    yield Form("Monarch 4x4 25 %", "monarch", arguments={"blocks": (4, 4)}, limit=0.50)
    yield Form("SVD 10 %", "svd", budget=0.1)
    yield Form("SVD 83 %", "svd", budget=256 / 307.2)
    yield Form("SVD 100 %", "svd", rank=307)
    yield Form("Monarch 4x4 50 %", "monarch", budget=0.5, arguments={"blocks": (4, 4)})
    yield Form("interpolative 25 %", "interpolative")
    yield Form("block diagonal 4", "block_diagonal")
    yield Form("Tucker 25 %", "tucker", arguments=modes)
    yield Form("Tucker 50 %", "tucker", budget=0.5, arguments=modes)
    yield Form("tensor train 25 %", "tensor_train", arguments=modes)
    yield Form("Kronecker, 1 term", "kronecker", rank=1, arguments={"shape": (n_out // 32, n_in // 16)})
    yield Form("Kronecker, 4 terms", "kronecker", rank=4, arguments={"shape": (n_out // 32, n_in // 16)})
    yield Form("butterfly, 4 factors", "kronecker_sparse", rank=1, arguments={"pattern": _pattern(shape)})


def _pattern(shape: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Four factors of a butterfly of 384, one of them four times as wide."""
    if shape[0] > shape[1]:
        return [(1, 16, 4, 96), (4, 4, 4, 24), (16, 4, 4, 6), (64, 6, 6, 1)]
    return [(1, 4, 4, 96), (4, 4, 4, 24), (16, 4, 4, 6), (64, 6, 24, 1)]


CONVOLUTIONS = [
    Form("Tucker-2 r=C/2", "tucker", rank=0.5, limit=0.46),
    Form("CP R=C", "cp", rank=1.0, limit=0.34),
    Form("Tucker-2 r=C/4", "tucker", rank=0.25),
    Form("Tucker-2 r=3C/4", "tucker", rank=0.75),
    Form("spatial SVD r=C/2", "spatial_svd", rank=0.5),
    Form("channel SVD r=C/2", "svd", rank=0.5),
    Form("tensor train r=C/2", "tensor_train", rank=0.5),
    Form("CP R=3C", "cp", rank=3.0),
]


def linear(form: Form, shape: tuple[int, int]) -> FactorizedLinear:
    """Make a factorized layer; of random weights, as times do not depend on them."""
    file, arguments = FILES[form.method], dict(form.arguments)
    modes = arguments.pop("modes", ((shape[0],), (shape[1],)))
    tensor = torch.randn(*modes[0], *modes[1], generator=torch.Generator().manual_seed(0))
    own = {name: value for name, value in arguments.items() if name != "n_iterations"}
    rank = form.rank or file.rank_for(tensor.shape, budget=form.budget, **own)
    factors = file.factor(tensor, rank=rank, **arguments)
    equation = file.equation(factors).as_matrix(len(modes[0]))
    return FactorizedLinear.of(form.method, equation, factorizations.expanded(file, factors))


def convolution(form: Form, n_channels: int) -> FactorizedConv2d:
    """Make a factorized 3x3 convolution; of random factors."""
    dense = nn.Conv2d(n_channels, n_channels, 3, padding=1)
    size = round(form.rank * n_channels)
    rank = {"tucker": (size, size), "tensor_train": (size,) * 3}.get(form.method, size)
    small = nn.Conv2d(n_channels, n_channels, 3, padding=1)
    equation, factors = factorizations.for_kernels(form.method).factor_kernel(small.weight.detach(), rank=rank)
    return FactorizedConv2d.of(form.method, equation, factors, dense)


def export(layer: nn.Module, inputs: torch.Tensor, file: Path) -> Path:
    """Write an ONNX file as the stage `export` does, for any number of rows."""
    free = ({axis: torch.export.Dim.AUTO for axis in range(inputs.ndim - 1 if inputs.ndim == 3 else 1)},)
    with exporter_quiet():
        program = torch.onnx.export(
            layer.eval(), (inputs,), dynamic_shapes=free, input_names=["x"], opset_version=23, verbose=False
        )
    assert program is not None
    rewrite_(program.model)
    program.save(file)
    return file


def to_int8(file: Path) -> Path:
    """Quantize as the stage `quantize` does."""
    proto, path = onnx.load(file), file.with_suffix(".int8.onnx")
    proto.graph.ClearField("value_info")
    with quantizer_quiet():
        quantize_dynamic(proto, path, list(dynamic.OPERATORS), per_channel=True, weight_type=QuantType.QInt8)
    return path


def runner(file: Path, inputs: torch.Tensor) -> prices.Runner:
    """Load a file for one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return prices.bound(session, inputs.numpy())


class Inside(nn.Module):
    """A layer of which only the last row or line is read: what a layer gives inside a network is not copied out."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Give the last row of each text, or the last line of each channel."""
        return cast(torch.Tensor, self.layer(inputs))[..., -1:, :]


def ratios(runs: Mapping[str, prices.Runner], rounds: int) -> dict[str, tuple[float, float]]:
    """Median time of each over that of ``dense`` in its round, both less what ``nothing`` takes: cold, then again."""
    evict, found = prices.single(prices.REFERENCE), {name: list[tuple[float, float]]() for name in runs}
    for _ in range(rounds):
        times = {}
        for name, run in runs.items():
            evict.run()
            times[name] = (run.seconds(), run.seconds())
        for name, own in times.items():
            both = zip(own, times["dense"], times["nothing"], strict=True)
            cold, warm = ((mine - nothing) / (dense - nothing) for mine, dense, nothing in both)
            found[name].append((cold, warm))
    return {name: (median(cold for cold, _ in each), median(warm for _, warm in each)) for name, each in found.items()}


def gap(file: Path, layer: nn.Module, inputs: torch.Tensor) -> float:
    """Largest difference between onnxruntime and torch, over the largest output."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = layer(inputs)
    found = torch.from_numpy(session.run(None, {"x": inputs.numpy()})[0])
    return float((found - expected).abs().max() / expected.abs().max())


def measure(
    dense: nn.Module,
    layers: Sequence[tuple[Form, FactorizedLinear | FactorizedConv2d]],
    inputs: Mapping[str, torch.Tensor],
    rounds: int,
    table: Prices,
) -> Iterator[Row]:
    """Yield a row for each of the layers, which have one shape, and each of the inputs."""
    with tempfile.TemporaryDirectory() as folder:
        example = torch.randn(2, *next(iter(inputs.values())).shape[1:])
        files = dict(_files(dense, layers, example, Path(folder)))
        whole = [export(layer, example, Path(folder, f"whole-{i}.onnx")) for i, (_, layer) in enumerate(layers)]
        for name, data in inputs.items():
            times = ratios({label: runner(file, data) for label, file in files.items()}, rounds)
            limits = {f"{form.name} int8": form.int8_limit for form, _ in layers}
            for label in (label for label in times if "int8" in label):
                cold, warm = times[label]
                yield {"name": label, "input": name, "cold": cold, "warm": warm, "limit": limits.get(label)}
            for (form, layer), file in zip(layers, whole, strict=True):
                yield {
                    "name": form.name,
                    "input": name,
                    "params": sum(each.numel() for each in layer.factors()) / layer.fold().weight.numel(),
                    "cold": times[form.name][0],
                    "warm": times[form.name][1],
                    "limit": form.limit,
                    "predicted": predicted(layer, data, table),
                    "gap": gap(file, layer, data),
                    "operators": sorted({node.op_type for node in onnx.load(file).graph.node}),
                }


def _files(
    dense: nn.Module, layers: Sequence[tuple[Form, nn.Module]], example: torch.Tensor, folder: Path
) -> Iterator[tuple[str, Path]]:
    """Export the dense layer and the others, in int8 too where their time in it has a limit."""
    yield "nothing", export(Inside(nn.Identity()), example, folder / "nothing.onnx")
    yield "dense", export(Inside(dense), example, folder / "dense.onnx")
    if not isinstance(dense, nn.Conv2d):
        yield "dense int8", to_int8(folder / "dense.onnx")
    for i, (form, layer) in enumerate(layers):
        file = export(Inside(layer), example, folder / f"{i}.onnx")
        yield form.name, file
        if form.int8_limit is not None:
            yield f"{form.name} int8", to_int8(file)


def predicted(layer: Any, data: torch.Tensor, table: Prices) -> float:
    """Predict the ratio as the stage `factorize` does."""
    size = tuple(data.shape[2:]) if data.ndim == 4 else (data.shape[0] * data.shape[1],)
    return table.total(layer.operations(*size)) / table.total(layer.dense_operations(*size))
