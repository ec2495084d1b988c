"""Files of layers that share one weight: the part `tied` of factorizations.py."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from factorization_speed import Row, export, gap
from torch import nn

from compressor.factorizations import svd
from compressor.nn import FactorizedLinear

SIZE, N_LAYERS = 384, 12  # of the square layers
MOST_MB = 0.65  # of a file that holds the weight once


def tied() -> Iterator[Row]:
    """Size of the file of twelve layers that share one weight, dense and factorized, beside layers of their own."""
    rank = svd.rank_for((SIZE, SIZE), budget=0.25)
    for name, form in (("dense", None), ("SVD 25 %", rank)):
        for is_tied in (True, False):
            layers = [_square(form) for _ in range(N_LAYERS)]
            for layer in layers if is_tied else []:
                for path, weight in layers[0].named_parameters():
                    layer.register_parameter(path, weight)
            net, inputs = nn.Sequential(*layers), torch.randn(2, 8, SIZE)
            with TemporaryDirectory() as folder:
                file = export(net, inputs, Path(folder, "net.onnx"))
                size, apart = file.stat().st_size / 1e6, gap(file, net, inputs)
            limit = MOST_MB if is_tied else None
            yield {
                "name": name,
                "layers": "one weight" if is_tied else "own weights",
                "MB": size,
                "limit": limit,
                "gap": apart,
            }


def _square(rank: int | None) -> nn.Module:
    weight = torch.randn(SIZE, SIZE) / SIZE**0.5
    if rank is None:
        layer = nn.Linear(SIZE, SIZE, bias=False)
        layer.weight = nn.Parameter(weight)
        return layer
    factors = svd.factor(weight, rank=rank)
    return FactorizedLinear.of("svd", svd.equation(factors), factors)
