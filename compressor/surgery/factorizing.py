"""Which layers of a network can be factorized, and how each is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from inspect import signature
from math import isqrt, prod
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from compressor import factorizations
from compressor.errors import listed
from compressor.factorizations import Factorization, KernelFactorization, Metric, Rank
from compressor.nn import FACTORIZED, Factorized, FactorizedConv2d, FactorizedEmbedding, FactorizedLinear
from compressor.plugins import discover

__all__ = ["LAYERS", "Candidate", "Conv1D", "candidate", "candidates", "check_tables", "dense", "folded", "weight_of"]

LAYERS = (nn.Linear, Conv1D, nn.Conv2d, nn.Embedding, *FACTORIZED)
NOTHING: Mapping[str, Any] = MappingProxyType({})


def dense(layer: nn.Module) -> nn.Module:
    """Fold a factorized layer; give any other as it is."""
    return layer.fold() if isinstance(layer, FACTORIZED) else layer


def weight_of(layer: nn.Module) -> Tensor:
    """Weight of a dense layer as a matrix of shape (n_out, n_in), a table, or a kernel."""
    weight: Tensor = layer.get_parameter("weight").detach()
    return weight.T if isinstance(layer, Conv1D) else weight


@dataclass(frozen=True)
class Candidate:
    """A layer that can be factorized, with the method for it."""

    name: str
    """Path of the layer."""
    method: str
    """Name of a file in `compressor.factorizations`."""
    shape: tuple[int, ...]
    """Shape of the tensor that is factorized: (n_out, n_in), a kernel, or a matrix divided into more axes."""
    kind: str
    """``linear``, ``conv2d`` or ``embedding``."""
    n_row_axes: int = 1
    """How many of the axes index the outputs."""
    form: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_weights(self) -> int:
        """Number of weights of the dense layer."""
        return prod(self.shape)

    @property
    def _file(self) -> Factorization:
        return discover(factorizations, Factorization)[self.method]

    @property
    def _kernel_file(self) -> KernelFactorization:
        return factorizations.for_kernels(self.method)

    def rank_for(self, budget: float, layer: nn.Module | None = None) -> Rank:
        """Largest rank within a share of the weights; ValueError, with the layer's name, if none is.

        With the dense layer a method that can, spreads several ranks by its weights.
        """
        form = self._taken_by(self._file.rank_for)
        if layer is not None and "tensor" in signature(self._file.rank_for).parameters and self.kind == "linear":
            form["tensor"] = weight_of(layer).reshape(self.shape)
        try:
            if self.kind == "conv2d":
                return self._kernel_file.kernel_rank_for(self.shape, budget=budget)
            return self._file.rank_for(self.shape, budget=budget, **form)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error

    def n_params(self, rank: Rank) -> int:
        """Count the numbers in the factors."""
        if self.kind == "conv2d":
            return self._kernel_file.kernel_n_params(self.shape, rank=rank)
        return self._file.n_params(self.shape, rank=rank, **self._taken_by(self._file.n_params))

    def _taken_by(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Select the arguments of the form that matter to a function: the number of sweeps is for `factor` alone."""
        taken = signature(function).parameters
        return {name: value for name, value in self.form.items() if name in taken}

    def factorized(
        self, layer: nn.Module, rank: Rank, metric: Metric | None = None, mean: Tensor | None = None
    ) -> Factorized:
        """Make the factorized layer.

        Parameters
        ----------
        layer : nn.Module
            The dense layer.
        rank : int or tuple of int
            Inner sizes of the factors.
        metric : Metric, optional
            Norm of the error.
        mean : Tensor, shape (n_in,), optional
            Mean of what the layer reads: its bias, if it has one, takes what the error makes of it.

        Raises
        ------
        ValueError
            If the rank does not fit; it names the layer.
        """
        weight = weight_of(layer)
        try:
            if isinstance(layer, nn.Conv2d):
                equation, factors = self._kernel_file.factor_kernel(weight, rank=rank)
                return FactorizedConv2d.of(self.method, equation, factors, layer)
            factors = self._file.factor(weight.reshape(self.shape), rank=rank, metric=metric, **self.form)
            equation = self._file.equation(factors).as_matrix(self.n_row_axes)
            factors = factorizations.expanded(self._file, factors)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error
        if isinstance(layer, nn.Embedding):
            return FactorizedEmbedding.of(self.method, factors, layer.padding_idx)
        bias: Tensor | None = getattr(layer, "bias", None)
        if bias is not None and mean is not None:
            error_of_mean = (weight.double() - equation.rebuild(factors).double()) @ mean
            bias = bias.detach() + error_of_mean.to(bias)
        return FactorizedLinear.of(self.method, equation, factors, bias)


def candidates(
    net: nn.Module,
    inside: Sequence[str],
    patterns: Sequence[str] | None,
    method: str | None,
    form: Mapping[str, Any] = NOTHING,
) -> list[Candidate]:
    """Select the layers to factorize.

    Parameters
    ----------
    net : nn.Module
        The network.
    inside : sequence of str
        Paths of the modules whose layers are selected by default.
    patterns : sequence of str, optional
        Patterns of paths; by default all linear layers and convolutions ``inside``, as far as they have no groups.
    method : str, optional
        Name of the file; by default ``svd``, and ``tucker`` for convolutions of more than one pixel.
    form : mapping
        Arguments of the method's own; ``modes`` divides the rows and the columns for a method of tensors.

    Raises
    ------
    ValueError
        If a pattern matches no layer, or only layers that cannot be factorized.
    """
    found = {name: module for name, module in net.named_modules() if isinstance(module, LAYERS)}
    if patterns is None:
        prefixes = tuple(f"{path}." for path in inside)
        chosen = [
            name for name in found if f"{name}.".startswith(prefixes) and not isinstance(found[name], nn.Embedding)
        ]
        chosen = [name for name in chosen if not _has_groups(found[name])]
    else:
        _check_patterns(net, found, patterns)
        chosen = [name for name in found if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if not chosen:
        raise ValueError("layers: this network has none that are factorized by default; name some")
    return [candidate(name, dense(found[name]), method, form) for name in chosen]


def _check_patterns(net: nn.Module, found: Mapping[str, nn.Module], patterns: Sequence[str]) -> None:
    for pattern in patterns:
        matched = [name for name, _ in net.named_modules() if fnmatchcase(name, pattern)]
        if not any(name in found for name in matched):
            what = f"{pattern!r} matches no layer; there are {listed(list(found), most=6)}"
            if matched:
                kind = type(net.get_submodule(matched[0])).__name__
                what = f"{matched[0]!r} is a {kind}, which cannot be factorized; name linear layers or convolutions"
            raise ValueError(f"layers: {what}")


def _has_groups(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups != 1


def check_tables(net: Any, chosen: Sequence[Candidate]) -> None:
    """Refuse tables of embeddings that the output layer of a network of transformers reads as well."""
    head = net.get_output_embeddings()
    for each in chosen:
        layer = net.get_submodule(each.name)
        if isinstance(layer, nn.Embedding) and isinstance(head, nn.Linear) and head.weight is layer.weight:
            raise ValueError(f"layers: {each.name!r} shares its table with the output layer; leave it out")


def candidate(name: str, layer: nn.Module, method: str | None, form: Mapping[str, Any] = NOTHING) -> Candidate:
    """Give a dense layer the method for it, with the arguments of `candidates`; ValueError if it does not fit."""
    if _has_groups(layer):
        raise ValueError(f"layers: {name!r} is a convolution with groups, which cannot be factorized; leave it out")
    shape = tuple(weight_of(layer).shape)
    if isinstance(layer, nn.Conv2d):
        chosen = method or ("tucker" if max(shape[2:]) > 1 else "svd")
        factorizations.for_kernels(chosen)
        return Candidate(name, chosen, shape, "conv2d")
    kind = "embedding" if isinstance(layer, nn.Embedding) else "linear"
    chosen = method or "svd"
    if kind == "embedding" and chosen != "svd":
        raise ValueError(f"layers: {name!r} is a table of embeddings, which takes method: svd, got {chosen!r}")
    file = discover(factorizations, Factorization)[chosen]
    _check_form(chosen, file, form)
    if file.TAKES == "matrix":
        return Candidate(name, chosen, shape, kind, 1, form)
    rest = dict(form)
    modes = rest.pop("modes", None) or [_divided(size) for size in shape]
    if len(modes) != 2 or any(prod(own) != size for own, size in zip(modes, shape, strict=True)):
        raise ValueError(f"form: modes {modes} do not multiply to the {shape[0]} x {shape[1]} weights of {name!r}")
    return Candidate(name, chosen, (*modes[0], *modes[1]), kind, len(modes[0]), rest)


def _check_form(method: str, file: Factorization, form: Mapping[str, Any]) -> None:
    """Refuse arguments that a method lacks, and those that it needs and is not given."""
    settings = signature(file.factor).parameters.values()
    own = {
        each.name: each for each in settings if each.kind is each.KEYWORD_ONLY and each.name not in ("rank", "metric")
    }
    needed = [name for name, each in own.items() if each.default is each.empty and name not in form]
    unknown = [name for name in form if name not in (*own, "modes")]
    if needed or unknown:
        what = f"needs {', '.join(needed)}" if needed else f"has no {', '.join(unknown)}"
        raise ValueError(f"form: {method!r} {what}; it takes {', '.join(own) or 'nothing'}")


def _divided(size: int) -> tuple[int, int]:
    """Divide a size into two factors that are as equal as possible, the smaller first."""
    smaller = next(factor for factor in range(isqrt(size), 0, -1) if size % factor == 0)
    return smaller, size // smaller


def folded(net: nn.Module, chosen: Sequence[Candidate]) -> Iterator[tuple[Candidate, nn.Module]]:
    """Yield the layers with the dense layer of each."""
    for candidate in chosen:
        yield candidate, dense(net.get_submodule(candidate.name))
