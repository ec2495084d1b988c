"""Models load, save and come back to the bit at any widths; what is wrong with a folder is said in one line."""

import json
import shutil
import socket
from typing import Any

import pytest
import tiny
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from compressor import surgery
from compressor.errors import InputError
from compressor.inputs import image, text
from compressor.model import OnnxGraph, Source, load, load_model, open_model, save_model
from compressor.model.artifact import load_weights_, save_weights
from compressor.model.outputs import logits_of, n_flops

TEXT, IMAGE = "text-classification", "image-classification"
VIT = {"model_type": "vit", **tiny.VIT}
INPUTS = {
    "input_ids": torch.tensor([[2, 7, 8, 11, 13, 3], [2, 9, 14, 3, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]]),
}


def loaded(folder, labels=None):
    return load_model(Source(checkpoint=str(folder), task=TEXT), labels)


def scratch(**more):
    torch.manual_seed(0)
    return load_model(Source(config=VIT | more, task=IMAGE), [str(digit) for digit in range(10)])


def halve(model):
    """Cut heads and neurons to half their number, whatever that does to the outputs."""
    for width in surgery.select(model.widths(), ["*.heads", "*.ffn"]):
        surgery.shrink_(model.net, width, torch.arange(width.size // 2), None)
        model.arch.resized_(model.net, width, width.size // 2)


@pytest.fixture
def folder(bert_folder, tmp_path):
    """A copy of the tiny BERT that a test may damage."""
    return shutil.copytree(bert_folder, tmp_path / "bert")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
def test_a_fine_tuned_checkpoint_keeps_its_labels(bert_folder, capfd):
    model = loaded(bert_folder, labels=["other", "words"])
    assert model.task.labels == ("negative", "positive")
    assert model.task.input_names == ("input_ids", "attention_mask", "token_type_ids")
    assert model.task.processor.model_max_length == 128
    assert model.layers == (0, 1)
    assert capfd.readouterr() == ("", "")


def test_weights_are_float32_whatever_the_file_holds(folder):
    file = folder / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    assert {parameter.dtype for parameter in loaded(folder).net.parameters()} == {torch.float32}


def test_an_encoder_without_a_head_gets_one_from_the_seed(bert_folder, tmp_path, capfd):
    transformers.BertModel.from_pretrained(bert_folder).save_pretrained(tmp_path)
    shutil.copy(bert_folder / "tokenizer.json", tmp_path)
    shutil.copy(bert_folder / "tokenizer_config.json", tmp_path)
    capfd.readouterr()

    def head(seed):
        torch.manual_seed(seed)
        model = loaded(tmp_path, ["bad", "so-so", "good"])
        assert model.task.labels == ("bad", "so-so", "good")
        return model.net.classifier.weight

    assert head(0).shape == (3, 16)
    assert torch.equal(head(0), head(0))
    assert not torch.equal(head(0), head(1))
    assert capfd.readouterr() == ("", "")
    with pytest.raises(InputError, match="a new classification head needs at least two labels"):
        loaded(tmp_path, ["bad"])


def test_a_config_gives_random_weights_from_the_seed():
    assert torch.equal(scratch().net.classifier.weight, scratch().net.classifier.weight)
    assert scratch().task.labels == tuple("0123456789")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model_type": "no_such"}, "model: transformers has no family 'no_such'"),
        ({"hiden_size": 8}, "model.config: 'hiden_size' is not a setting of ViTConfig"),
        ({"num_labels": 3}, "model.config: 'num_labels' is not a setting"),
        ({"hidden_act": "nothing"}, "model.config: cannot be built"),
        ({"hidden_size": "wide"}, "model.config: cannot be built"),
    ],
)
def test_configs_that_cannot_be_built_are_refused(settings, said):
    with pytest.raises(InputError, match=said):
        scratch(**settings)


def test_a_text_config_takes_the_tokenizer_it_names(bert_folder):
    config = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    source = Source(config=config, processor=str(bert_folder), task=TEXT)
    assert load_model(source, ["no", "yes"]).task.processor.vocab_size == 22
    with pytest.raises(InputError, match="token ids up to 21 for a network that knows 20 tokens"):
        load_model(source.model_copy(update={"config": config | {"vocab_size": 20}}), ["no", "yes"])


def test_token_types_are_given_to_networks_that_take_them(bert_folder):
    config = {"model_type": "distilbert", "dim": 8, "hidden_dim": 8, "n_layers": 1, "n_heads": 2, "vocab_size": 22}
    model = load_model(Source(config=config, processor=str(bert_folder), task=TEXT), ["no", "yes"])
    assert model.task.input_names == ("input_ids", "attention_mask")


def test_the_image_processor_fits_the_config_and_comes_back(tmp_path):
    model = scratch()
    save_model(model, tmp_path)
    again = load_model(Source(checkpoint=str(tmp_path), task=IMAGE), None)
    for processor in (model.task.processor, again.task.processor):
        assert (processor.size["height"], tuple(processor.image_mean), tuple(processor.image_std)) == (
            8,
            (0.5,),
            (0.5,),
        )
    assert again.task.input_names == ("pixel_values",)


RESNET = {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [4], "depths": [1], "layer_type": "basic"}


def test_a_resnet_learns_its_image_size_from_the_config_or_the_processor(tmp_path):
    source = Source(config={**RESNET, "image_size": 12}, task=IMAGE)
    model = load_model(source, ["no", "yes"])
    pixels = model.task.processor([Image.new("RGB", (40, 20))], return_tensors="pt")["pixel_values"]
    assert image.shape(model.net.config) == (3, 12, 12) == pixels.shape[1:]
    save_model(model, tmp_path)
    edit(tmp_path / "config.json", lambda config: config.pop("image_size"))
    edit(tmp_path / "preprocessor_config.json", lambda settings: settings.update(size={"height": 10, "width": 14}))
    assert image.shape(load_model(Source(checkpoint=str(tmp_path), task=IMAGE), None).net.config) == (3, 10, 14)
    with pytest.raises(InputError, match=r"model.config: ResNetConfig has no image size; add one"):
        load_model(Source(config=RESNET, task=IMAGE), ["no", "yes"])


def test_a_family_with_two_heads_gets_the_one_that_can_be_trained():
    config = {**VIT, "model_type": "deit"}
    assert (
        type(load_model(Source(config=config, task=IMAGE), ["no", "yes"]).net).__name__ == "DeiTForImageClassification"
    )


def edit(file, change):
    """Change the JSON of a file in place."""
    settings = json.loads(file.read_text())
    change(settings)
    file.write_text(json.dumps(settings))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("is_shrunk", [False, True])
@pytest.mark.parametrize("family", ["bert", "vit"])
def test_saving_and_loading_changes_no_bit(bert_folder, tmp_path, family, is_shrunk):
    model = loaded(bert_folder) if family == "bert" else scratch()
    inputs = INPUTS if family == "bert" else {"pixel_values": torch.randn(2, 1, 8, 8)}
    if is_shrunk:
        halve(model)
    save_model(model, tmp_path / "once")
    once = open_model(tmp_path / "once", model.task)
    save_model(once, tmp_path / "twice")
    assert torch.equal(logits_of(once)(inputs), logits_of(model)(inputs))
    assert torch.equal(load(tmp_path / "twice")(**inputs).logits, logits_of(model)(inputs))
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()
    assert once.widths() == model.widths()
    assert not load(tmp_path / "twice").training


def test_the_config_records_every_width(bert_folder, tmp_path):
    model = loaded(bert_folder)
    halve(model)
    save_model(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    layer = {"heads": 2, "head_dims": 4, "ffn": 12}
    widths = {f"layer.{i}.{kind}": size for i in (0, 1) for kind, size in layer.items()} | {"residual": 16}
    assert config["compressor"] == {"format": 1, "widths": widths, "layers": [0, 1]}
    assert config["architectures"] == ["BertForSequenceClassification"]


def test_plain_from_pretrained_refuses_a_shrunk_folder(bert_folder, tmp_path):
    model = loaded(bert_folder)
    halve(model)
    save_model(model, tmp_path)
    with pytest.raises(RuntimeError):
        transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)


def test_a_shrunk_folder_is_a_checkpoint_and_its_layers_are_the_original_ones(bert_folder, tmp_path):
    model = loaded(bert_folder)
    halve(model)
    model.record([0, 5])
    save_model(model, tmp_path)
    assert open_model(tmp_path, model.task).layers == (0, 5)
    again = loaded(tmp_path)
    assert again.layers == (0, 1)
    assert torch.equal(logits_of(again)(INPUTS), logits_of(model)(INPUTS))


def without(name):
    def damage(folder):
        file = folder / "model.safetensors"
        save_file({key: value for key, value in load_file(file).items() if key != name}, file, {"format": "pt"})

    return damage


def config_with(**settings):
    def damage(folder):
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | settings))

    return damage


BLOCK = {"format": 1, "layers": [0, 1]}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without("classifier.bias"), "1 weights are missing, among them 'classifier.bias'"),
        (without("bert.encoder.layer.1.output.dense.weight"), "among them 'bert.encoder.layer.1.output.dense.weight'"),
        (config_with(intermediate_size=8), "the weights do not fit config.json"),
        (config_with(compressor={**BLOCK, "format": 2}), "format 2 of another version"),
        (config_with(compressor={**BLOCK, "widths": {"layer.9.ffn": 4}}), "no width 'layer.9.ffn'"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "no tokenizer or image processor can be loaded"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors, found no weights"),
    ],
)
def test_damaged_folders_are_refused_in_one_line(folder, damage, said):
    damage(folder)
    with pytest.raises(InputError, match=said) as caught:
        loaded(folder)
    assert "\n" not in str(caught.value)


def test_an_encoder_with_a_hole_is_not_filled_with_random_weights(folder):
    config_with(architectures=["BertModel"])(folder)
    without("bert.encoder.layer.0.output.dense.weight")(folder)
    with pytest.raises(InputError, match="1 weights are missing"):
        loaded(folder, ["no", "yes"])


def test_load_opens_the_class_that_the_config_names(folder):
    config_with(architectures=["BertModel"])(folder)
    assert type(load(folder)) is transformers.BertModel


@pytest.mark.parametrize("named", [["NoSuchNet"], ["pipeline"], ["BertConfig"], [], None])
def test_load_refuses_what_is_no_network(folder, tmp_path, named):
    with pytest.raises(InputError, match=r"no config.json in this folder"):
        load(tmp_path / "nowhere")
    config_with(architectures=named)(folder)
    with pytest.raises(InputError, match=r"no network of transformers, config.json names"):
        load(folder)


def test_code_in_a_checkpoint_runs_on_demand_only(folder, tmp_path):
    trace = tmp_path / "ran"
    (folder / "extra.py").write_text(
        "from pathlib import Path\n"
        "from transformers import BertForSequenceClassification\n"
        f"Path({str(trace)!r}).touch()\n"
        "class Extra(BertForSequenceClassification):\n    pass\n"
    )
    config_with(auto_map={"AutoModelForSequenceClassification": "extra.Extra"})(folder)
    assert type(loaded(folder).net).__name__ == "BertForSequenceClassification"
    assert not trace.exists()
    trusting = Source(checkpoint=str(folder), task=TEXT, trust_remote_code=True)
    assert type(load_model(trusting, None).net).__name__ == "Extra"
    assert trace.exists()


def test_weights_alone_go_and_come_back(bert_folder, tmp_path):
    model, other = loaded(bert_folder), loaded(bert_folder)
    torch.nn.init.normal_(model.net.classifier.weight)
    save_weights(model.net, tmp_path / "round.safetensors")
    load_weights_(other.net, tmp_path / "round.safetensors")
    assert torch.equal(logits_of(other)(INPUTS), logits_of(model)(INPUTS))
    halve(other)
    with pytest.raises(InputError, match=r"round.safetensors: not the weights of this network"):
        load_weights_(other.net, tmp_path / "round.safetensors")


def test_logits_are_those_of_evaluation_whatever_the_mode(bert_folder):
    model = loaded(bert_folder)
    model.net.train()
    assert torch.equal(logits_of(model)(INPUTS), logits_of(model)(INPUTS))
    assert model.net.training


def test_an_onnx_file_that_does_not_open_is_refused(bert_folder, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"cut short")
    with pytest.raises(InputError, match=r"model.onnx: onnxruntime cannot open it"):
        logits_of(OnnxGraph(tmp_path / "model.onnx", loaded(bert_folder).task))


def test_flops_are_counted_by_hand(bert_folder):
    model = loaded(bert_folder)
    batch_size, length, hidden, ffn = 3, 5, 16, 24
    layer = 4 * length * hidden**2 + 2 * length**2 * hidden + 2 * length * hidden * ffn
    by_hand = 2 * batch_size * (2 * layer + hidden**2 + 2 * hidden)  # two layers, the pooler, two classes
    assert n_flops(model, batch_size, length) == by_hand
    assert model.net.config._attn_implementation == "sdpa"

    halve(model)
    layer = 2 * length * hidden**2 + length**2 * hidden + length * hidden * ffn
    assert n_flops(model, batch_size, length) == 2 * batch_size * (2 * layer + hidden**2 + 2 * hidden)
    per_layer = 2 * hidden**2 + 3 * hidden // 2 + hidden + hidden * ffn + ffn // 2 + hidden + 4 * hidden
    outside = sum(each.numel() for name, each in model.net.named_parameters() if ".layer." not in name)
    assert surgery.n_params(model.net) == outside + 2 * per_layer


def test_real_checkpoint_of_sst2(shared):
    model = loaded(shared / "models" / "minilm-sst2")
    assert model.task.labels == ("negative", "positive")
    assert len(surgery.select(model.widths(), ["*.ffn", "*.heads"])) == 12
    assert model.task.processor.model_max_length == 512


def test_a_network_made_to_write_pads_with_the_end_of_a_text(bert_folder):
    sizes: dict[str, Any] = {"n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 22, "eos_token_id": 3}
    sizes["bos_token_id"] = 3
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert_folder)
    tokenizer.pad_token, tokenizer.eos_token = None, "[SEP]"
    config = transformers.GPT2Config(**sizes)
    net = transformers.AutoModelForSequenceClassification.from_config(config)
    text.agree_(net, tokenizer, "there")
    assert (tokenizer.pad_token, config.pad_token_id) == ("[SEP]", tokenizer.sep_token_id)
    source = Source(config={"model_type": "gpt2", **sizes}, processor=str(bert_folder), task=TEXT)
    assert load_model(source, ["no", "yes"]).net.config.pad_token_id == tokenizer.vocab["[PAD]"]


def test_a_network_without_positions_reads_as_far_as_its_tokenizer(bert_folder):
    sizes = {"d_model": 8, "d_ff": 8, "d_kv": 4, "num_heads": 2, "num_layers": 1, "vocab_size": 22}
    source = Source(config={"model_type": "t5", **sizes}, processor=str(bert_folder), task=TEXT)
    most = transformers.AutoTokenizer.from_pretrained(bert_folder).model_max_length
    assert load_model(source, ["no", "yes"]).task.processor.model_max_length == most
