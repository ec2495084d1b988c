"""bf16 where the device computes in it and the layers are wide enough, or where it is asked for."""

import pytest
import torch
from torch import nn

from compressor.training import precision

WIDE, NARROW = nn.Linear(precision.NARROW, 4), nn.Linear(precision.NARROW - 1, 4)
CONVOLUTION = nn.Conv2d(32, 4, 3)  # 288 products


@pytest.mark.parametrize("capability", ["avx512_bf16", "amx_bf16"])
def test_auto_wants_wide_layers_and_a_processor_with_bf16(capability, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True})
    assert [precision.chosen(net, "auto") for net in (WIDE, NARROW, CONVOLUTION)] == ["bf16", "fp32", "bf16"]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: False})
    assert [precision.chosen(net, "auto") for net in (WIDE, NARROW, CONVOLUTION)] == ["fp32"] * 3


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_what_is_asked_for_is_taken(wanted):
    assert precision.chosen(NARROW, wanted) == wanted


def test_the_forward_pass_computes_in_the_precision():
    rows = torch.ones(2, precision.NARROW)
    with precision.autocast(WIDE, "bf16"):
        assert WIDE(rows).dtype == torch.bfloat16
    with precision.autocast(WIDE, "fp32"):
        assert WIDE(rows).dtype == torch.float32
