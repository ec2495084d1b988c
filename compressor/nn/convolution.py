"""A convolution whose kernel is given by the factors of an equation: plain convolutions, one after another."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from compressor.factorizations import Equation, Factors
from compressor.nn.contraction import Step, plan
from compressor.nn.operation import Operation
from compressor.nn.stepwise import Stepwise

AXES = ("o", "i", "h", "w")  # of a kernel: output and input channels, height, width
PLACES = "hw"
Sizes = tuple[int, ...]


class FactorizedConv2d(Stepwise):
    """A convolution by a chain of smaller ones: 1x1, along one axis, or of each channel by itself.

    A factor with the letter ``h`` or ``w`` slides along that axis, and takes its stride, padding and dilation.

    Parameters
    ----------
    method : str
        Name of the file in `compressor.factorizations` that made the factors.
    equation : Equation
        Of one term, with the axes ``o``, ``i``, ``h``, ``w``.
    sizes : mapping of str to int
        Size of each letter.
    settings : mapping
        ``stride``, ``padding`` and ``dilation`` of the dense convolution: pairs, or a word for the padding.
    bias : bool
        Whether the layer adds a bias.

    Raises
    ------
    ValueError
        If the equation is not that of such a chain.
    """

    groups = 1
    padding_mode = "zeros"

    def __init__(
        self, method: str, equation: Equation, sizes: Mapping[str, int], settings: Mapping[str, Any], bias: bool = True
    ) -> None:
        super().__init__(method, equation, sizes, _steps(equation, sizes), bias)
        self.settings = dict(settings)

    @classmethod
    def of(cls, method: str, equation: Equation, factors: Factors, dense: nn.Conv2d) -> "FactorizedConv2d":
        """Make the layer that computes given factors in the place of a dense one; ValueError if it has groups."""
        if dense.groups != 1 or dense.padding_mode != "zeros":
            raise ValueError("a convolution with groups, or that pads with anything but zeros, cannot be factorized")
        settings = {name: getattr(dense, name) for name in ("stride", "padding", "dilation")}
        layer = cls(method, equation, equation.sizes(factors), settings, dense.bias is not None)
        layer.to(factors[0].dtype)
        layer.fill_(factors, dense.bias)
        return layer

    def _layout(self, step: Step) -> str:
        letters = self.equation.factors[step.factor]
        return step.batch + step.new + step.summed + "".join(place for place in PLACES if place in letters)

    def _shape(self, step: Step, sizes: Mapping[str, int]) -> list[int]:
        letters = self.equation.factors[step.factor]
        channels = [step.batch, ""] if step.batch else [step.new, step.summed]
        return [
            *(sizes[letter] if letter else 1 for letter in channels),
            *(sizes[place] if place in letters else 1 for place in PLACES),
        ]

    def axes(self, side: str) -> dict[str, int]:
        """Axis of each tensor that indexes the output channels, or the input channels."""
        if side == "in":
            return {self._names()[0]: 1}
        return {"weight": 0, **({"bias": 0} if self.bias is not None else {})}

    def sizes(self) -> dict[str, int]:
        """Size of each letter, which a cut may have changed."""
        return {
            **self._letters,
            "o": self.get_parameter("weight").shape[0],
            "i": self.get_parameter(self._names()[0]).shape[1],
        }

    @property
    def in_channels(self) -> int:
        """Number of channels that are read."""
        return self.sizes()["i"]

    @property
    def out_channels(self) -> int:
        """Number of channels that are written."""
        return self.sizes()["o"]

    @property
    def padding(self) -> Any:
        """Padding of the dense convolution."""
        return self.settings["padding"]

    @property
    def stride(self) -> Any:
        """Stride of the dense convolution."""
        return self.settings["stride"]

    @property
    def dilation(self) -> Any:
        """Dilation of the dense convolution."""
        return self.settings["dilation"]

    @property
    def kernel_size(self) -> tuple[int, int]:
        """Height and width of the dense convolution's kernel."""
        return self._letters["h"], self._letters["w"]

    def operations(self, height: int, width: int) -> list[Operation]:
        """List the convolutions of an image of this size."""
        found: list[Operation] = []
        shape: Sizes = (1, self.in_channels, height, width)
        for name, step in self._named_steps().items():
            weight = self.get_parameter(name)
            groups = len(weight) if step.batch else 1
            found.append(_operation(shape, tuple(weight.shape), groups, self._moves(step)))
            shape = _convolved(shape, tuple(weight.shape), self._moves(step))
        return found

    def dense_operations(self, height: int, width: int) -> list[Operation]:
        """List the operations of the dense layer: one."""
        sizes = self.sizes()
        kernel = tuple(sizes[axis] for axis in AXES)
        return [_operation((1, self.in_channels, height, width), kernel, 1, self.settings)]

    def fold(self) -> nn.Conv2d:
        """Make the dense convolution that computes the same."""
        shape = (self.in_channels, self.out_channels, self.kernel_size)
        return self._folded_into(nn.Conv2d(*shape, bias=self.bias is not None, device="meta", **self.settings))

    def spec(self) -> dict[str, Any]:
        """Describe the layer in words of JSON, from which `from_spec` builds it without its values."""
        return {**self._spec("conv2d"), "settings": self.settings}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "FactorizedConv2d":
        """Build the layer that a description is of."""
        terms = tuple(tuple(term) for term in spec["terms"])
        settings = {name: value if isinstance(value, str) else tuple(value) for name, value in spec["settings"].items()}
        return cls(spec["method"], Equation(terms, AXES), spec["sizes"], settings, spec["bias"])

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve images of shape (batch, n_in, height, width)."""
        state = inputs
        for name, step in self._named_steps().items():
            weight = self.get_parameter(name)
            bias = self.bias if name == "weight" else None
            state = functional.conv2d(state, weight, bias, groups=len(weight) if step.batch else 1, **self._moves(step))
        return state

    def _moves(self, step: Step) -> dict[str, Any]:
        """Stride, padding and dilation along the axes of a factor: those of 1x1 kernels go to the first factor."""
        letters = self.equation.factors[step.factor]
        is_first = step is self.steps[0]
        slides = [place in letters if self._letters[place] > 1 else is_first for place in PLACES]
        moves: dict[str, Any] = {}
        for name, other in (("stride", 1), ("padding", 0), ("dilation", 1)):
            value = self.settings[name]
            moves[name] = (
                value
                if isinstance(value, str)
                else tuple(own if is_slid else other for own, is_slid in zip(value, slides, strict=True))
            )
        return moves

    def extra_repr(self) -> str:
        """Name the method and the sizes."""
        return f"{self.method}, {self.sizes()}, {self.settings}, bias={self.bias is not None}"


def _operation(shape: Sizes, weight: Sizes, groups: int, moves: Mapping[str, Any]) -> Operation:
    stride, dilation = tuple(moves["stride"]), tuple(moves["dilation"])
    before, after = zip(*_pads(weight[2:], moves), strict=True)
    settings = (("strides", stride), ("pads", (*before, *after)), ("dilations", dilation), ("group", (groups,)))
    return Operation("Conv", shape, weight, settings)


def _pads(kernel: Sizes, moves: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Give the padding before and after each axis."""
    if moves["padding"] == "valid":
        return [(0, 0) for _ in kernel]
    if moves["padding"] == "same":
        totals = [dilation * (size - 1) for dilation, size in zip(moves["dilation"], kernel, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(pad, pad) for pad in moves["padding"]]


def _convolved(shape: Sizes, weight: Sizes, moves: Mapping[str, Any]) -> Sizes:
    """Shape of what a convolution gives."""
    places = [
        (size + sum(pads) - dilation * (kernel - 1) - 1) // stride + 1
        for size, pads, dilation, kernel, stride in zip(
            shape[2:], _pads(weight[2:], moves), moves["dilation"], weight[2:], moves["stride"], strict=True
        )
    ]
    return (shape[0], weight[0], *places)


def _steps(equation: Equation, sizes: Mapping[str, int]) -> list[Step]:
    """Order the convolutions: the kernel's places take no part in what is summed."""
    if equation.axes != AXES or len(equation.terms) != 1:
        raise ValueError(f"equation: a convolution has one term and the axes {', '.join(AXES)}, got {equation.axes}")
    (term,) = equation.terms
    channels = tuple("".join(letter for letter in letters if letter not in PLACES) for letters in term)
    (steps,) = plan(Equation((channels,), ("o", "i")), sizes)
    for step in steps:
        if step.kept or step.single or len(step.batch + step.summed) != 1 or (step.batch and step.new):
            raise ValueError(f"equation: {term[step.factor]!r} is not a convolution")
    return steps
