"""Tiny networks with random weights, one per family, for the laws and the table of families."""

import copy
import functools

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification, AutoModelForSequenceClassification

TEXT = {"vocab_size": 64, "max_position_embeddings": 40, "pad_token_id": 0, "hidden_size": 32, "intermediate_size": 24}
LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 4}
IMAGE = {"image_size": 8, "patch_size": 4, "num_channels": 1, "hidden_size": 32, "intermediate_size": 24}

TINY = {
    "bert": TEXT | LAYERS,
    "distilbert": TEXT | LAYERS | {"hidden_dim": 24},
    "vit": IMAGE | LAYERS,
}
"""What differs from the defaults of each family's config."""


def build(family, attention="sdpa"):
    """Build a fresh network of a family with its own random weights."""
    config = AutoConfig.for_model(family, **TINY[family])
    is_text = type(config) in AutoModelForSequenceClassification._model_mapping
    auto = AutoModelForSequenceClassification if is_text else AutoModelForImageClassification
    return auto.from_config(config, attn_implementation=attention).eval()


@functools.cache
def _original(family, attention):
    torch.manual_seed(0)
    net = build(family, attention)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)  # biases too: large everywhere, so that a wrong answer shows
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return net


def tiny(family, attention="sdpa"):
    """Give a network of a family, always the same, with weights large enough that a wrong answer shows."""
    return copy.deepcopy(_original(family, attention))


def inputs(net, batch_size=3, length=6):
    """Make random inputs; texts end in padding."""
    generator = torch.Generator().manual_seed(length)
    if net.main_input_name == "pixel_values":
        config = net.config
        size = (config.num_channels, config.image_size, config.image_size)
        return {"pixel_values": torch.randn(batch_size, *size, generator=generator)}
    ids = torch.randint(1, net.config.vocab_size, (batch_size, length), generator=generator)
    mask = torch.arange(length) < torch.randint(1, length + 1, (batch_size, 1), generator=generator)
    return {"input_ids": ids.masked_fill(~mask, 0), "attention_mask": mask.long()}


def logits(net, example):
    """Logits of a forward pass without gradients."""
    with torch.no_grad():
        return net(**example).logits
