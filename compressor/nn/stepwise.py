"""What linear layers and convolutions share that apply the factors of their weight one after another."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from compressor.factorizations import Equation, Factors
from compressor.nn.contraction import Step

Dense = TypeVar("Dense", nn.Linear, nn.Conv2d)


class Stepwise(nn.Module, ABC):
    """A layer whose weight is given by the factors of an equation, one parameter for each.

    Every factor is kept as its step takes it; `factors` gives them back. The one that is applied last has the name
    ``weight``, so that a checkpoint of the layer does not load into a dense one.

    Parameters
    ----------
    method : str
        Name of the file in `compressor.factorizations` that made the factors.
    equation : Equation
        Of the weight; its first axis is that of the outputs.
    sizes : mapping of str to int
        Size of each letter.
    steps : sequence of Step
        In the order in which the factors are applied.
    bias : bool
        Whether the layer adds a bias.
    """

    bias: Tensor | None

    def __init__(
        self, method: str, equation: Equation, sizes: Mapping[str, int], steps: Sequence[Step], bias: bool
    ) -> None:
        super().__init__()
        self.method, self.equation, self.steps = method, equation, tuple(steps)
        self._letters = dict(sizes)  # of letters that no cut changes
        for name, step in self._named_steps().items():
            self.register_parameter(name, nn.Parameter(torch.empty(self._shape(step, sizes))))
        n_out = math.prod(sizes[letter] for letter in equation.axes[0])
        self.register_parameter("bias", nn.Parameter(torch.zeros(n_out)) if bias else None)

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Size of each letter, which a cut may have changed."""

    @abstractmethod
    def _layout(self, step: Step) -> str:
        """Letters of a factor's axes in the order in which the parameter holds them."""

    @abstractmethod
    def _shape(self, step: Step, sizes: Mapping[str, int]) -> list[int]:
        """Shape of the parameter of a step."""

    def _names(self) -> list[str]:
        """Names of the parameters, in the order of the steps."""
        return [*(f"weight_{index}" for index in range(len(self.steps) - 1)), "weight"]

    def _named_steps(self) -> dict[str, Step]:
        return dict(zip(self._names(), self.steps, strict=True))

    @torch.no_grad()
    def fill_(self, factors: Factors, bias: Tensor | None = None) -> None:
        """Copy given factors, of the order and shapes of the equation, and the bias, if the layer has one."""
        for name, step in self._named_steps().items():
            letters = self.equation.factors[step.factor]
            arranged = factors[step.factor].permute([letters.index(letter) for letter in self._layout(step)])
            parameter = self.get_parameter(name)
            parameter.copy_(arranged.reshape(parameter.shape))
        if bias is not None and self.bias is not None:
            self.bias.copy_(bias)

    def factors(self) -> Factors:
        """Give the factors, in the order of the equation; views of the parameters."""
        sizes, found = self.sizes(), {}
        for name, step in self._named_steps().items():
            letters, layout = self.equation.factors[step.factor], self._layout(step)
            tensor = self.get_parameter(name).reshape([sizes[letter] for letter in layout])
            found[step.factor] = tensor.permute([layout.index(letter) for letter in letters])
        return tuple(found[index] for index in range(len(found)))

    def _spec(self, kind: str) -> dict[str, Any]:
        """Describe in words of JSON what every such layer has."""
        return {
            "kind": kind,
            "method": self.method,
            "terms": [list(term) for term in self.equation.terms],
            "sizes": self.sizes(),
            "bias": self.bias is not None,
        }

    @torch.no_grad()
    def _folded_into(self, layer: Dense) -> Dense:
        """Give a dense layer without values the weight that the factors make, and the bias."""
        layer.weight = nn.Parameter(self.equation.rebuild(self.factors()).clone())
        if self.bias is not None:
            layer.bias = nn.Parameter(self.bias.detach().clone())
        return layer.train(self.training)
