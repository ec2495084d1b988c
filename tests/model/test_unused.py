"""Weights that a network has no place for: those of its body are refused, other heads are left out and named."""

import re
import shutil
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AlbertConfig,
    AlbertForPreTraining,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForPreTraining,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForPreTraining,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForMaskedImageModeling,
)

from compressor.errors import InputError
from compressor.model.checkpoint import read_config
from compressor.model.pretrained import read_net

TEXT, IMAGES = "text-classification", "image-classification"
SIZES: dict[str, Any] = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
BART: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 8,
    "decoder_ffn_dim": 8,
}
T5: dict[str, Any] = {"vocab_size": 30, "d_model": 16, "d_ff": 8, "d_kv": 8, "num_heads": 2, "num_layers": 1}
SELF = "bert.encoder.layer.0.attention.self"
ONE = torch.ones(1)

OTHER_TASKS = {
    "bert": (BertForPreTraining, BertConfig(**SIZES), "cls.predictions"),
    "roberta": (RobertaForMaskedLM, RobertaConfig(**SIZES), "lm_head"),
    "albert": (AlbertForPreTraining, AlbertConfig(**SIZES, embedding_size=8), "predictions"),
    "electra": (ElectraForPreTraining, ElectraConfig(**SIZES), "discriminator_predictions.dense"),
    "distilbert": (
        DistilBertForMaskedLM,
        DistilBertConfig(dim=16, hidden_dim=8, n_layers=1, n_heads=2, vocab_size=30),
        "vocab_transform",
    ),
    "gpt2": (GPT2LMHeadModel, GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=30), None),
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES), "lm_head"),
    "t5": (
        T5ForConditionalGeneration,
        T5Config(**T5),
        None,
    ),
    "bart": (
        BartForConditionalGeneration,
        BartConfig(**BART, vocab_size=30, encoder_attention_heads=2, decoder_attention_heads=2),
        "final_logits_bias",
    ),
    "vit": (
        ViTForMaskedImageModeling,
        ViTConfig(**SIZES | {"vocab_size": None}, image_size=8, patch_size=4, encoder_stride=4),
        "vit.embeddings",
    ),
}


def read(folder, task=TEXT):
    return read_net(folder, read_config(folder), task, ("no", "yes"))


@pytest.mark.parametrize("family", OTHER_TASKS)
def test_heads_of_other_tasks_are_left_out_and_named_once(tmp_path, family, capsys):
    kind, config, named = OTHER_TASKS[family]
    kind(config).save_pretrained(tmp_path)
    capsys.readouterr()
    read(tmp_path, IMAGES if family == "vit" else TEXT)
    said = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(said) == (named is not None)
    assert all(repr(named) in line for line in said)


def change(folder, changed):
    save_file(changed(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})


@pytest.fixture
def folder(bert_folder, tmp_path):
    """A copy of the tiny BERT that a test may change."""
    return shutil.copytree(bert_folder, tmp_path / "bert")


@pytest.mark.parametrize(
    "name",
    [
        f"{SELF}.distance_embedding.weight",
        f"{SELF}.query.weight_scale_inv",
        f"{SELF}.query.lora_A.default.weight",
        "bert.encoder.layer.7.output.dense.weight",
        "bert.pooler.dense.weight_scale_inv",
        "classifier.weight_scale_inv",
        f"module.{SELF}.query.weight",
    ],
)
def test_unused_weights_of_the_network_are_refused_with_their_names(folder, name):
    change(folder, lambda weights: weights | {name: ONE})
    said = f": 1 weights are not used by BertForSequenceClassification, such as '{name}'; give a float checkpoint"
    with pytest.raises(InputError, match=re.escape(said)):
        read(folder)


def test_unused_weights_of_a_body_saved_alone_are_refused(tmp_path):
    BertModel(BertConfig(**SIZES)).save_pretrained(tmp_path)
    read(tmp_path)
    change(tmp_path, lambda weights: weights | {"encoder.layer.0.attention.self.distance_embedding.weight": ONE})
    with pytest.raises(InputError, match=r"such as 'encoder.layer.0.attention.self.distance_embedding.weight'"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["bert.embeddings.position_ids", "bert.encoder.rotary.inv_freq"])
def test_buffers_are_left_out_without_a_word(folder, name, capsys):
    change(folder, lambda weights: weights | {name: ONE})
    read(folder)
    assert "left out" not in capsys.readouterr().err


def test_a_pooler_that_the_task_does_not_read_is_left_out(tmp_path, capsys):
    config = RobertaConfig(**SIZES, architectures=["RobertaForMaskedLM"])
    RobertaForMaskedLM(config).save_pretrained(tmp_path)
    change(tmp_path, lambda weights: weights | {"roberta.pooler.dense.weight": torch.ones(16, 16)})
    read(tmp_path)
    assert "'roberta.pooler'" in capsys.readouterr().err


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_weights_under_other_names_are_named(tmp_path, prefix):
    BertForSequenceClassification(BertConfig(**SIZES)).save_pretrained(tmp_path)
    change(tmp_path, lambda weights: {f"{prefix}{name}": tensor for name, tensor in weights.items()})
    said = rf"weights are missing, .* and \d+ have names of no such network, among them '{prefix}bert.*'; merge masks"
    with pytest.raises(InputError, match=said):
        read(tmp_path)
