"""Tiny networks with random weights, one per family, for the laws and the table of families."""

import copy
import functools
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig

from compressor import surgery
from compressor.model import checkpoint
from compressor.nets import tabular
from compressor.tasks import auto_class, task_files
from compressor.training.context import Context

TEXT = {"vocab_size": 64, "max_position_embeddings": 40, "pad_token_id": 0, "hidden_size": 32, "intermediate_size": 24}
LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 4}
RELATIVE = {"relative_attention": True, "position_buckets": 4, "share_att_key": True, "pos_att_type": "c2p|p2c"}
PIXELS = {"image_size": 16, "patch_size": 2, "num_channels": 1}
DECODER = TEXT | LAYERS | {"bos_token_id": 1, "eos_token_id": 2}
GROUPED = DECODER | {"num_key_value_heads": 2, "head_dim": 8}
T5 = {"vocab_size": 64, "d_model": 32, "d_ff": 24, "d_kv": 8, "num_heads": 4, "num_layers": 2, "eos_token_id": 2}
BART = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
BART_HEADS = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "forced_eos_token_id": None}
ROW = {"feature_names": list("abcdefghij"), "feature_means": [0.5] * 10, "feature_stds": [2.0] * 10}
IMAGE = {"image_size": 8, "patch_size": 4, "num_channels": 1, "hidden_size": 32, "intermediate_size": 24}

TINY: dict[str, dict[str, Any]] = {
    "bert": TEXT | LAYERS,
    "roberta": TEXT | LAYERS,
    "electra": TEXT | LAYERS | {"embedding_size": 16},
    "albert": TEXT | LAYERS | {"embedding_size": 16},
    "deberta-v2": TEXT | LAYERS | RELATIVE | {"embedding_size": 16, "conv_kernel_size": 3},
    "modernbert": DECODER | {"local_attention": 4, "cls_token_id": 1, "sep_token_id": 2},
    "distilbert": TEXT | LAYERS | {"hidden_dim": 24},
    "gpt2": DECODER | {"n_inner": 24},
    "llama": GROUPED,
    "mistral": GROUPED,
    "qwen2": GROUPED,
    "qwen3": GROUPED,
    "phi3": GROUPED,
    "mt5": T5 | {"decoder_start_token_id": 0},
    "t5": T5 | {"decoder_start_token_id": 0},
    "bart": DECODER | BART | BART_HEADS | {"decoder_start_token_id": 2},
    "autoencoder": ROW | {"hidden_sizes": [16, 12], "num_labels": 3},
    "mlp": ROW | {"hidden_sizes": [16, 12], "num_labels": 3, "batch_norm": True},
    "convnext": PIXELS | {"num_stages": 2, "depths": [2, 1], "hidden_sizes": [8, 12], "layer_scale_init_value": 0.5},
    "deit": IMAGE | LAYERS | {"architectures": ["DeiTForImageClassification"]},
    "mobilenet_v2": PIXELS | {"depth_multiplier": 0.1, "depth_divisible_by": 2, "min_depth": 4},
    "resnet": PIXELS | {"layer_type": "basic", "embedding_size": 6, "depths": [2, 2], "hidden_sizes": [6, 8]},
    "swin": PIXELS | {"embed_dim": 16, "depths": [2, 1], "num_heads": [2, 4], "window_size": 2, "mlp_ratio": 2},
    "vit": IMAGE | LAYERS,
}
"""What differs from the defaults of each family's config."""

BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
VIT = BERT | {"image_size": 8, "patch_size": 4, "num_channels": 1}
"""Smaller ones still, for runs that train."""

tabular.register()
AUTO_CLASSES = [auto_class(name) for name in task_files()]
NO_SDPA = ("autoencoder", "convnext", "deberta-v2", "mlp", "mobilenet_v2", "resnet")


def build(family, attention="sdpa"):
    """Build a fresh network of a family with its own random weights."""
    config = AutoConfig.for_model(family, **TINY[family])
    auto = next(auto for auto in AUTO_CLASSES if type(config) in auto._model_mapping)
    implementation = "eager" if family in NO_SDPA else attention
    return auto.from_config(config, attn_implementation=implementation).eval()


@functools.cache
def _original(family, attention):
    torch.manual_seed(0)
    net = build(family, attention)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)  # biases too: large everywhere, so that a wrong answer shows
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, mean=1.0, std=0.3)
            nn.init.normal_(module.bias, mean=1.0, std=0.3)
    logits(net.train(), inputs(net, 16))  # batch norms take their statistics, or deep nets would answer all alike
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.get_buffer("running_var").clamp_(min=0.1)
    return net.eval()


def tiny(family, attention="sdpa"):
    """Give a network of a family, always the same, with weights large enough that a wrong answer shows."""
    return copy.deepcopy(_original(family, attention))


def arch_of(net):
    """Give the file that knows the network's family."""
    return checkpoint.arch_of(net.config.model_type)


def bare_context(folder, key="", **more):
    """Give the context of a stage that neither trains nor evaluates."""
    no_data: Any = None
    return Context(folder, key, 0, no_data, originals=None, **more)


def nets():
    """List each family with each attention it has."""
    return [(family, kind) for family in TINY for kind in (("sdpa", "eager")[: 1 if family in NO_SDPA else 2])]


def make_ragged_(net):
    """Cut each exact width to another size, and return the counts."""
    arch, counts = arch_of(net), {}
    for index, name in enumerate([width.name for width in arch.widths(net)]):
        width = next(each for each in arch.widths(net) if each.name == name)
        if width.exact:
            counts[name] = max(1, width.size - 1 - index % 3)
            surgery.resize_(net, arch, {name: counts[name]})
    return counts


def task_of(net):
    """Name the task, the labels, what stands for a processor, and the inputs of a network."""
    if net.main_input_name == "pixel_values":
        return "image-classification", ("no", "yes"), Processor(), ("pixel_values",)
    if net.main_input_name == "features":
        return "tabular-classification", ("a", "b", "c"), None, ("features",), tuple(net.config.feature_names)
    return "text-classification", ("no", "yes"), Processor(), ("input_ids", "attention_mask")


class Processor:
    """Stands for a tokenizer or an image processor."""

    pad_token_id = 0
    model_max_length = 40

    def save_pretrained(self, folder):
        """Have nothing to save."""


def inputs(net, batch_size=3, length=6):
    """Make random inputs; texts end in padding."""
    generator = torch.Generator().manual_seed(length)
    if net.main_input_name == "pixel_values":
        config = net.config
        size = (config.num_channels, config.image_size, config.image_size)
        return {"pixel_values": torch.randn(batch_size, *size, generator=generator)}
    if net.main_input_name == "features":
        return {"features": torch.randn(batch_size, len(net.config.feature_names), generator=generator)}
    ids = torch.randint(3, net.config.vocab_size, (batch_size, length), generator=generator)
    n_tokens = torch.randint(1, length + 1, (batch_size, 1), generator=generator)
    if net.config.is_encoder_decoder:
        ids.scatter_(1, n_tokens - 1, net.config.eos_token_id)  # the classifiers read the state at the end
    mask = torch.arange(length) < n_tokens
    return {"input_ids": ids.masked_fill(~mask, 0), "attention_mask": mask.long()}


def logits(net, example):
    """Logits of a forward pass without gradients, with the reconstruction of an autoencoder beside them."""
    with torch.no_grad():
        output = net(**example)
    return torch.cat([output[name] for name in ("logits", "reconstruction") if name in output], dim=-1)
