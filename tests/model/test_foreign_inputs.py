"""Tokenizers, processors and configs as other tools leave them: brought into agreement with the network, or refused."""

import json

import datasets
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
    ViTImageProcessor,
)

from compressor.errors import InputError
from compressor.inputs import image
from compressor.model import Source, load, load_model
from compressor.model.outputs import logits_of, n_flops, outputs_of, probe_of
from compressor.model.padding import padding_gap

TEXT, IMAGE = "text-classification", "image-classification"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "film", "is", "good", "bad", "very"]
SIZES = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24},
    "roberta": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64, "eos_token_id": 3, "bos_token_id": 3},
}


def checkpoint(folder, family="bert", special=None, vocabulary=None, **settings):
    """Save a text classifier with large random weights, and a tokenizer of words that adds nothing."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{"vocab_size": len(WORDS), "pad_token_id": 0, **SIZES[family], **settings})
    net = AutoModelForSequenceClassification.from_config(config)
    for weights in net.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    net.save_pretrained(folder)
    made = Tokenizer(models.WordLevel(vocabulary or {word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "eos_token": "[SEP]"} if special is None else special
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", **special).save_pretrained(folder)
    return folder


def loaded(folder, task=TEXT):
    return load_model(Source(checkpoint=str(folder), task=task), None)


def change(file, **settings):
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def test_a_decoder_pads_with_the_token_that_its_config_looks_for(tmp_path):
    model = loaded(checkpoint(tmp_path, "gpt2", pad_token_id=3))
    assert (model.task.processor.pad_token, model.net.config.pad_token_id) == ("[SEP]", 3)
    assert padding_gap(outputs_of(model), probe_of(model, 0), "logits") < 1e-4


def test_the_tokenizer_decides_where_the_config_pads_with_a_word(tmp_path):
    model = loaded(checkpoint(tmp_path, "gpt2", pad_token_id=7))
    assert (model.task.processor.pad_token, model.net.config.pad_token_id) == ("[PAD]", 0)
    assert padding_gap(outputs_of(model), probe_of(model, 0), "logits") < 1e-4


def test_padding_that_changes_the_answer_is_measured(tmp_path):
    model = loaded(checkpoint(tmp_path, "gpt2"))
    model.net.config.pad_token_id = 9
    assert padding_gap(outputs_of(model), probe_of(model, 0), "logits") > 0.01


def test_a_padding_token_is_found_by_its_name_or_asked_for(tmp_path):
    model = loaded(checkpoint(tmp_path / "named", special={}))
    assert model.task.processor.pad_token == "[PAD]"
    words = {word: i for i, word in enumerate(["none", *WORDS[1:]])}
    with pytest.raises(InputError, match="the tokenizer has no padding token; give its config a 'pad_token'"):
        loaded(checkpoint(tmp_path / "nameless", special={}, vocabulary=words))


def test_the_largest_id_counts_and_not_the_number_of_tokens(tmp_path):
    words = {word: i for i, word in enumerate(WORDS)} | {"very": 40}
    with pytest.raises(InputError, match="token ids up to 40 for a network that knows 10 tokens"):
        loaded(checkpoint(tmp_path, vocabulary=words))


def test_positions_that_are_counted_from_the_padding_on_hold_fewer_texts(tmp_path):
    model = loaded(checkpoint(tmp_path, "roberta", max_position_embeddings=34, pad_token_id=1,
                              special={"pad_token": "[UNK]"}))  # fmt: skip
    assert model.task.processor.model_max_length == 32
    ids = torch.full((1, 32), 5)
    assert logits_of(model)({"input_ids": ids, "attention_mask": torch.ones_like(ids)}).isfinite().all()
    with pytest.raises(InputError, match="the network pads with id 1, the tokenizer with 0; give the tokenizer that"):
        loaded(checkpoint(tmp_path, "roberta", max_position_embeddings=34, pad_token_id=1))


@pytest.mark.parametrize("names", [{"1": "no", "2": "yes"}, {"0": "no", "2": "yes"}])
def test_names_of_outputs_count_from_zero(tmp_path, names):
    change(checkpoint(tmp_path) / "config.json", id2label=names, label2id={name: int(i) for i, name in names.items()})
    assert loaded(tmp_path).task.labels == ("no", "yes")
    assert load(tmp_path).config.id2label == {0: "no", 1: "yes"}


@pytest.mark.parametrize(
    "setting", [{"return_dict": False}, {"output_attentions": True}, {"output_hidden_states": True}]
)
def test_settings_of_the_answer_do_not_matter(tmp_path, setting):
    plain = loaded(checkpoint(tmp_path))
    probe = probe_of(plain, 0)
    expected = logits_of(plain)(probe)
    change(tmp_path / "config.json", **setting)
    model = loaded(tmp_path)
    assert torch.equal(logits_of(model)(probe), expected)
    assert n_flops(model, 1, 8) == n_flops(plain, 1, 8)


def test_an_end_token_within_a_text_is_words_to_an_encoder_decoder(tmp_path):
    checkpoint(tmp_path)
    torch.manual_seed(0)
    sizes = {"d_model": 8, "d_ff": 8, "d_kv": 4, "num_heads": 2, "num_layers": 1, "vocab_size": len(WORDS)}
    config = AutoConfig.for_model("t5", **sizes, eos_token_id=3, pad_token_id=0, decoder_start_token_id=0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    processor = loaded(tmp_path).task.processor
    assert 3 not in processor(["a film [SEP] good"])["input_ids"][0]


def test_a_text_without_tokens_is_refused(tmp_path):
    model = loaded(checkpoint(tmp_path, "gpt2"))
    rows = datasets.Dataset.from_dict({"text": ["a film", "", "good", ""]}, split="train").select([3, 0, 1])
    message = "data: 2 texts of 'text' give no token, such as '', at rows 3, 1 of train, counted from 0; fill or"
    with pytest.raises(InputError, match=message):
        model.task.inputs.encode(rows, ("text",), model.task, 32)


CONVNEXT = {"patch_size": 4, "num_stages": 2, "depths": [1, 1], "hidden_sizes": [8, 12]}
VIT = {"patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
DINO = {"patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_ratio": 2}


def pictures(folder, family, settings, size, **processor):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{"image_size": 32, **settings})
    AutoModelForImageClassification.from_config(config).save_pretrained(folder)
    ViTImageProcessor(size=size).save_pretrained(folder)
    change(folder / "preprocessor_config.json", **processor)
    return folder


@pytest.mark.parametrize(("family", "settings"), [("convnext", CONVNEXT), ("dinov2", DINO)])
def test_the_size_that_the_processor_makes_is_the_one_in_use(tmp_path, family, settings):
    model = loaded(pictures(tmp_path, family, settings, {"height": 16, "width": 16}), IMAGE)
    assert image.shape(model.net.config) == (3, 16, 16)
    assert probe_of(model, 0)["pixel_values"].shape[2:] == (16, 16)
    assert model.net.config.image_size == 32  # what builds the network
    model.net.save_pretrained(tmp_path / "again")
    assert image.shape(load(tmp_path / "again").config) == (3, 16, 16)


def test_a_size_that_the_network_does_not_take_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"the processor makes images of \[16, 16\], the network takes \[32, 32\]"):
        loaded(pictures(tmp_path, "vit", VIT, {"height": 16, "width": 16}), IMAGE)


def test_images_of_several_sizes_are_refused(tmp_path):
    folder = pictures(tmp_path, "convnext", CONVNEXT, {"height": 32, "width": 32}, do_resize=False)
    with pytest.raises(InputError, match="the processor makes images of several sizes; let it crop, or give height"):
        loaded(folder, IMAGE)


@pytest.mark.parametrize("mean", [None, 0.5, [0.5]])
def test_one_mean_or_none_serves_all_channels(tmp_path, mean):
    std = None if mean is None else mean
    settings = {"image_mean": mean, "image_std": std, "do_normalize": mean is not None}
    model = loaded(pictures(tmp_path, "vit", VIT, {"height": 32, "width": 32}, **settings), IMAGE)
    white = Image.new("RGB", (8, 8), (255, 255, 255))
    rows = datasets.Dataset.from_dict({"image": [white]}, datasets.Features(image=datasets.Image()))
    encode, _ = model.task.inputs.encode(rows, ("image",), model.task, 0)
    assert torch.equal(encode(torch.tensor([0]))["pixel_values"], torch.ones(1, 3, 32, 32))
