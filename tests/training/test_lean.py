"""What is kept between the passes of a training step is less, and no result changes."""

import os
import subprocess
import sys
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import AlbertConfig, BertConfig, GPT2Config, LlamaConfig
from transformers.models.auto import AutoModelForSequenceClassification

from compressor.training import lean, precision

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
NETWORKS = {
    "bert": BertConfig(**SIZES),
    "albert": AlbertConfig(**SIZES, embedding_size=16, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1),
    "gpt2": GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=2, n_positions=32, pad_token_id=0),
    "llama": LlamaConfig(**SIZES, num_key_value_heads=1, attention_dropout=0.1, pad_token_id=0),
}
GROWTH = """
import sys, torch
from transformers import BertConfig, BertForSequenceClassification
from compressor.training import lean, precision

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

net = BertForSequenceClassification(BertConfig(vocab_size=100, num_hidden_layers=4, num_labels=2)).train()
ids = torch.randint(0, 100, (8, 128))
if sys.argv[1] == "torch":
    lean.SMALL = 2**60
for _ in range(2):  # the first one loads libraries
    before = resident()
    with precision.autocast(net, "bf16"), lean.keeping_less(net):
        loss = net(input_ids=ids).logits.sum()
    grown = resident() - before
    loss.backward()
    del loss
    net.zero_grad()
print(grown)
"""


def step(net, chosen, is_lean, monkeypatch):
    """Return the loss, its gradients and the state of the generator after one step with dropout."""
    monkeypatch.setattr(lean, "SMALL", 0 if is_lean else 2**60)
    torch.manual_seed(0)
    ids = torch.arange(3, 19).repeat(4, 1)
    mask = torch.ones_like(ids)
    mask[1, 11:] = 0
    net.zero_grad()
    with precision.autocast(net, chosen), lean.keeping_less(net):
        loss = net(input_ids=ids, attention_mask=mask, labels=torch.arange(4) % 2).loss
    loss.backward()
    gradients = {name: weights.grad.clone() for name, weights in net.named_parameters() if weights.grad is not None}
    return loss.detach(), gradients, torch.get_rng_state()


@pytest.mark.parametrize("chosen", ["fp32", "bf16"])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_step_has_the_same_bits(name, chosen, monkeypatch):
    torch.manual_seed(1)
    net = AutoModelForSequenceClassification.from_config(NETWORKS[name]).train()
    plain, less = (step(net, chosen, is_lean, monkeypatch) for is_lean in (False, True))
    assert torch.equal(plain[0], less[0])
    assert torch.equal(plain[2], less[2])
    assert plain[1].keys() == less[1].keys()
    assert any(grad.any() for grad in less[1].values())
    assert all(torch.equal(grad, less[1][key]) for key, grad in plain[1].items())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_forward_pass_keeps_half():
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", GROWTH]
    plain, less = (
        int(subprocess.run([*command, which], env=environment, capture_output=True, check=True).stdout)
        for which in ("torch", "lean")
    )
    assert less < 0.55 * plain


class Odd(nn.Module):
    """Layers whose inputs and weights could be mistaken for each other, and an activation that is changed."""

    def __init__(self):
        super().__init__()
        self.square, self.one, self.wide = nn.Linear(8, 8), nn.Linear(8, 1), nn.Linear(8, 8, bias=False)

    def forward(self, batch):
        turned = self.square(batch.t())
        changed = functional.gelu(turned)
        changed = changed.mul_(2.0)
        return self.one(self.wide(changed)) + self.one(batch) + self.wide(batch).sum()


@pytest.mark.parametrize("chosen", ["fp32", "bf16"])
def test_odd_layers_are_told_apart(chosen, monkeypatch):
    torch.manual_seed(2)
    net, batch = Odd(), torch.randn(8, 8, requires_grad=True)
    gradients = []
    for limit in (2**60, 0):
        monkeypatch.setattr(lean, "SMALL", limit)
        with torch.autocast("cpu", torch.bfloat16) if chosen == "bf16" else nullcontext(), lean.keeping_less(net):
            loss = net(batch).sum()
        gradients.append(torch.autograd.grad(loss.float(), [batch, *net.parameters()]))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
