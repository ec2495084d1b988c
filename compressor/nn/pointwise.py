"""A 1x1 convolution that multiplies the channels of each pixel by factors, as the Butterfly Transform does."""

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from compressor.factorizations import Equation, Factors
from compressor.nn.linear import FactorizedLinear, equation_of
from compressor.nn.operation import Operation


class FactorizedConv1x1(FactorizedLinear):
    """A 1x1 convolution, of stride one and without padding, by the products of a factorized linear layer.

    Its parameters are those of `FactorizedLinear`; the channels are moved to the last axis and back.

    References
    ----------
    .. [1] K. Alizadeh Vahid, A. Prabhu, A. Farhadi, M. Rastegari, "Butterfly transform: an efficient FFT based neural
       architecture design", CVPR 2020, arXiv:1906.02256.

    Examples
    --------
    >>> import torch
    >>> from compressor.nn import Butterfly
    >>> layer = FactorizedConv1x1.from_linear(Butterfly(16, 32))
    >>> layer(torch.zeros(2, 16, 5, 7)).shape
    torch.Size([2, 32, 5, 7])
    """

    kernel_size = (1, 1)
    stride = (1, 1)
    padding = (0, 0)
    dilation = (1, 1)
    groups = 1
    padding_mode = "zeros"

    @classmethod
    def of(cls, method: str, equation: Equation, factors: Factors, bias: Tensor | None = None) -> Self:
        """Make the layer that computes given factors; they are copied."""
        layer = cls(method, equation, equation.sizes(factors), bias is not None)
        layer.to(factors[0].dtype)
        layer.fill_(factors, bias)
        return layer

    @classmethod
    def from_linear(cls, layer: FactorizedLinear) -> Self:
        """Apply a factorized linear layer to the channels of images; its parameters are copied."""
        made = cls.of(layer.method, layer.equation, layer.factors(), layer.bias)
        return made.train(layer.training)

    @property
    def in_channels(self) -> int:
        """Number of channels that are read."""
        return self.in_features

    @property
    def out_channels(self) -> int:
        """Number of channels that are written."""
        return self.out_features

    def forward(self, images: Tensor) -> Tensor:
        """Convolve images of shape (batch, n_in, height, width)."""
        outputs = super().forward(images.flatten(2).mT).mT
        return outputs.reshape(*outputs.shape[:2], *images.shape[2:])

    def operations(self, height: int, width: int) -> list[Operation]:  # type: ignore[override]  # as convolutions do
        """List the operations for an image of this size."""
        n_pixels = height * width
        into = Operation("Transpose", (1, self.in_features, n_pixels), settings=(("perm", (0, 2, 1)),))
        back = Operation("Transpose", (1, n_pixels, self.out_features), settings=(("perm", (0, 2, 1)),))
        return [into, *super().operations(n_pixels), back]

    def dense_operations(self, height: int, width: int) -> list[Operation]:  # type: ignore[override]
        """List the operations of the dense layer: one."""
        ones = ("dilations", (1, 1)), ("strides", (1, 1))
        settings = (("group", (1,)), ("pads", (0, 0, 0, 0)), *ones)
        kernel = (self.out_features, self.in_features, 1, 1)
        return [Operation("Conv", (1, self.in_features, height, width), kernel, settings)]

    def fold(self) -> nn.Conv2d:  # type: ignore[override]
        """Make the dense convolution that computes the same."""
        linear = super().fold()
        layer = nn.Conv2d(self.in_features, self.out_features, 1, bias=linear.bias is not None, device="meta")
        layer.weight = nn.Parameter(linear.weight.detach()[:, :, None, None])
        if linear.bias is not None:
            layer.bias = linear.bias
        return layer.train(self.training)

    def spec(self) -> dict[str, Any]:
        """Describe the layer in words of JSON, from which `from_spec` builds it without its values."""
        return {**super().spec(), "kind": "conv1x1"}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Build the layer that a description is of."""
        return cls(spec["method"], equation_of(spec), spec["sizes"], spec["bias"])
