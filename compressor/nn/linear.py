"""A linear layer whose weight is given by the factors of an equation."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.factorizations import Equation, Factors
from compressor.nn.contraction import Step, plan
from compressor.nn.operation import Operation
from compressor.nn.stepwise import Stepwise

TOKENS = "*"  # stands for the two axes of the inputs before the last, batch and length


class FactorizedLinear(Stepwise):
    """A linear layer that multiplies its inputs by the factors of its weight, one after another.

    Every factor is kept as its product takes it, a matrix or a stack of matrices.

    Parameters
    ----------
    method : str
        Name of the file in `compressor.factorizations` that made the factors.
    equation : Equation
        Of a matrix of shape (n_out, n_in).
    sizes : mapping of str to int
        Size of each letter.
    bias : bool
        Whether the layer adds a bias.

    Raises
    ------
    ValueError
        If no order of products computes the equation.
    """

    def __init__(self, method: str, equation: Equation, sizes: Mapping[str, int], bias: bool = True) -> None:
        terms = plan(equation, sizes)
        super().__init__(method, equation, sizes, [step for steps in terms for step in steps], bias)
        self.terms = terms

    @classmethod
    def of(cls, method: str, equation: Equation, factors: Factors, bias: Tensor | None = None) -> "FactorizedLinear":
        """Make the layer that computes given factors; they are copied."""
        layer = cls(method, equation, equation.sizes(factors), bias is not None)
        layer.to(factors[0].dtype)
        layer.fill_(factors, bias)
        return layer

    def _layout(self, step: Step) -> str:
        return step.layout()

    def _shape(self, step: Step, sizes: Mapping[str, int]) -> list[int]:
        groups = (step.batch, step.summed, step.new) if step.batch else (step.new, step.summed)
        return [math.prod(sizes[letter] for letter in group) for group in groups]

    def axes(self, side: str) -> dict[str, int]:
        """Axis of each tensor that indexes the outputs, or the inputs; empty if no single axis does."""
        if len(self.terms) != 1:
            return {}
        letters = self.equation.axes[0 if side == "out" else 1]
        names = self._names()
        index = len(names) - 1 if side == "out" else 0
        step = self.terms[0][index]
        if len(letters) != 1 or step.batch or (step.new if side == "out" else step.summed) != letters:
            return {}
        return (
            {names[index]: 0, **({"bias": 0} if self.bias is not None else {})} if side == "out" else {names[index]: 1}
        )

    def sizes(self) -> dict[str, int]:
        """Size of each letter, which a cut may have changed."""
        sizes = dict(self._letters)
        for side, letters in zip(("out", "in"), self.equation.axes, strict=True):
            for name, axis in list(self.axes(side).items())[:1]:
                sizes[letters] = self.get_parameter(name).shape[axis]
        return sizes

    @property
    def in_features(self) -> int:
        """Number of inputs."""
        return math.prod(self.sizes()[letter] for letter in self.equation.axes[1])

    @property
    def out_features(self) -> int:
        """Number of outputs."""
        return math.prod(self.sizes()[letter] for letter in self.equation.axes[0])

    @property
    def nf(self) -> int:
        """Number of outputs, by the name that transformers' Conv1D gives it."""
        return self.out_features

    def n_flops(self, n_tokens: int) -> int:
        """Count the floating-point operations for a number of tokens, two for each multiply-accumulate."""
        sizes = self.sizes()
        return 2 * n_tokens * sum(step.n_multiplications(sizes) for step in self.steps)

    def operations(self, n_tokens: int) -> list[Operation]:
        """List the operations for a number of tokens, without reshapes, which move nothing."""
        sizes, found = self.sizes(), []
        rows, columns = self.equation.axes
        for steps in self.terms:
            letters = TOKENS + columns
            for step in steps:
                before = step.batch + TOKENS + step.kept + step.summed
                found += _transposed(letters, before, sizes, n_tokens)
                shape = [math.prod(_shape(group, sizes, n_tokens)) for group in (step.batch, TOKENS + step.kept)]
                groups = [math.prod(sizes[letter] for letter in group) for group in (step.summed, step.new)]
                batch = tuple(shape[:1]) if step.batch else ()
                found.append(Operation("MatMul", (*batch, shape[1], groups[0]), (*batch, *groups)))
                letters = step.batch + TOKENS + step.kept + step.new
            found += _transposed(letters, TOKENS + rows, sizes, n_tokens)
        n_sums = len(self.terms) - (self.bias is None)
        return found + n_sums * [Operation("Add", (n_tokens, self.out_features), (self.out_features,))]

    def dense_operations(self, n_tokens: int) -> list[Operation]:
        """List the operations of the dense layer."""
        product = Operation("MatMul", (n_tokens, self.in_features), (self.in_features, self.out_features))
        n_sums = int(self.bias is not None)
        return [product, *n_sums * [Operation("Add", (n_tokens, self.out_features), (self.out_features,))]]

    def fold(self) -> nn.Linear:
        """Make the dense layer that computes the same."""
        dense = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        return self._folded_into(dense)

    def spec(self) -> dict[str, Any]:
        """Describe the layer in words of JSON, from which `from_spec` builds it without its values."""
        return {**self._spec("linear"), "axes": list(self.equation.axes), "sparse": list(self.equation.sparse)}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "FactorizedLinear":
        """Build the layer that a description is of."""
        terms = tuple(tuple(term) for term in spec["terms"])
        equation = Equation(terms, tuple(spec["axes"]), tuple(spec["sparse"]))
        return cls(spec["method"], equation, spec["sizes"], spec["bias"])

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer to the last axis of ``inputs``."""
        is_chain = all(not step.batch and not step.kept for step in self.steps)
        tokens = inputs if is_chain else _with_two_axes_before(inputs)
        names, total = iter(self._names()), None
        for steps in self.terms:
            product = self._product(tokens, steps, [next(names) for _ in steps])
            total = product if total is None else total + product
        assert total is not None  # an equation has a term
        outputs = total if is_chain else total.reshape(*inputs.shape[:-1], total.shape[-1])
        return outputs if self.bias is None else outputs + self.bias

    def _product(self, tokens: Tensor, steps: Sequence[Step], names: Sequence[str]) -> Tensor:
        """Multiply by the factors of one term."""
        rows, columns = self.equation.axes
        sizes = self.sizes()
        state, letters = _divided(tokens, columns, sizes), TOKENS + columns
        for step, name in zip(steps, names, strict=True):
            weight = self._kept_zeros(self.get_parameter(name), step)
            if step.batch:
                order = step.batch + TOKENS + step.kept + step.summed
                state = _joined(_permuted(state, letters, order), len(step.summed))
                n_between = state.ndim - len(step.batch) - 2
                shape = [*(sizes[letter] for letter in step.batch), *[1] * n_between, *weight.shape[1:]]
                state = state @ weight.reshape(shape)
                letters = step.batch + TOKENS + step.kept + step.new
            else:
                state = _joined(_permuted(state, letters, TOKENS + step.kept + step.summed), len(step.summed))
                state, letters = functional.linear(state, weight), TOKENS + step.kept + step.new
            state = _divided(state, step.new, sizes)
        return _joined(_permuted(state, letters, TOKENS + rows), len(rows))

    def _kept_zeros(self, weight: Tensor, step: Step) -> Tensor:
        """Give the factor of a step, whose zeros get no gradient if they are a pattern."""
        is_pattern = self.training and step.factor in self.equation.sparse
        return _KeepZeros.apply(weight) if is_pattern else weight  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        """Name the method and the sizes."""
        return f"{self.method}, {self.equation.axes}, {self.sizes()}, bias={self.bias is not None}"


class _KeepZeros(torch.autograd.Function):
    """The identity, with no gradient for entries that are zero: an optimizer then leaves them at zero."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        weight: Tensor = ctx.saved_tensors[0]
        return gradient * (weight != 0)


def _with_two_axes_before(inputs: Tensor) -> Tensor:
    """Give the inputs the shape (batch, length, n_in)."""
    if inputs.ndim == 3:
        return inputs
    return inputs.unsqueeze(0) if inputs.ndim == 2 else inputs.reshape(inputs.shape[0], -1, inputs.shape[-1])


def _divided(state: Tensor, letters: str, sizes: Mapping[str, int]) -> Tensor:
    """Divide the last axis into one for each letter; none is left of no letter."""
    if len(letters) == 1:
        return state
    return state.reshape(*state.shape[:-1], *(sizes[letter] for letter in letters))


def _joined(state: Tensor, n_axes: int) -> Tensor:
    """Join the last axes to one; without any, add one of size 1."""
    if n_axes == 1:
        return state
    return state.flatten(-n_axes) if n_axes else state.reshape(*state.shape, 1)


def _shape(letters: str, sizes: Mapping[str, int], n_tokens: int) -> list[int]:
    return [n_tokens if letter == TOKENS else sizes[letter] for letter in letters]


def _transposed(letters: str, order: str, sizes: Mapping[str, int], n_tokens: int) -> list[Operation]:
    """List the transpose from one order of letters to another; none if it moves nothing."""
    if letters == order:
        return []
    perm = tuple(letters.index(letter) for letter in order)
    return [Operation("Transpose", tuple(_shape(letters, sizes, n_tokens)), settings=(("perm", perm),))]


def _permuted(state: Tensor, letters: str, order: str) -> Tensor:
    """Reorder the axes, of which the letter of the tokens counts two (none in a plain chain of matrices)."""
    if letters == order:
        return state
    places, axis = {}, 0
    for letter in letters:
        n_axes = 2 if letter == TOKENS else 1
        places[letter] = list(range(axis, axis + n_axes))
        axis += n_axes
    return state.permute([axis for letter in order for axis in places[letter]])
