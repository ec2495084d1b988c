"""Language models write the same text before and after a cut, with each kind of cache, and after they are loaded."""

import copy

import pytest
import tiny
import torch
from tiny import arch_of
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

import compressor
from compressor import surgery
from compressor.model import pretrained

DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "phi3")
each_family = pytest.mark.parametrize("family", [*DECODERS, "t5", "bart"])
each_attention = pytest.mark.parametrize("attention", ["sdpa", "eager"])
FIRST_ATTENTIONS = [(family, "layer.0.heads") for family in DECODERS] + [
    ("t5", "decoder.heads"),
    ("t5", "decoder.layer.0.cross_heads"),
    ("bart", "decoder.layer.0.heads"),
    ("bart", "decoder.layer.0.cross_heads"),
]


def build(family, attention="sdpa", **settings):
    """Build a language model with weights large enough that a wrong answer shows."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **tiny.TINY[family], **settings)
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    net = auto.from_config(config, attn_implementation=attention).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


def prompts():
    """Two texts, the second one padded at its start, as for writing on."""
    ids = torch.randint(3, 64, (2, 5), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
    return {"input_ids": ids.masked_fill(mask == 0, 0), "attention_mask": mask}


def written(net, cache="dynamic"):
    """Tokens that the network goes on with, and the logits of each."""
    answer = net.generate(
        **prompts(),
        max_new_tokens=8,
        min_new_tokens=8,
        do_sample=False,
        cache_implementation=cache,
        use_cache=cache is not None,
        disable_compile=True,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return answer.sequences, torch.stack(answer.logits)


def cut_(net, names, choose, side="both"):
    """Zero the chosen units of the widths, and give what is written before they are cut."""
    arch = arch_of(net)
    chosen = [(width, choose(width)) for width in arch.widths(net) if width.name in names]
    for width, dead in chosen:
        surgery.zero_units_(net, width, dead, side)
    before = copy.deepcopy(net)
    for width, dead in chosen:
        width = next(each for each in arch.widths(net) if each.name == width.name)
        surgery.shrink_(net, width, ~dead, example(net))
        arch.resized_(net, width, int((~dead).sum()))
    return before


def example(net):
    """Make an input of one forward call."""
    return prompts() | ({"decoder_input_ids": prompts()["input_ids"]} if net.config.is_encoder_decoder else {})


def exact_names(net):
    return [width.name for width in arch_of(net).widths(net) if width.exact]


def assert_same(found, expected):
    """Compare tokens and logits; the latter are those of the same tokens, as every token is the same."""
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-4)


@each_family
@each_attention
@pytest.mark.parametrize("cache", ["dynamic", "static", None])
def test_a_cut_changes_nothing_that_is_written(family, attention, cache):
    net = build(family, attention)
    before = cut_(net, exact_names(net), lambda width: torch.arange(width.size) % 2 == 1)
    assert surgery.n_params(net) < surgery.n_params(before)
    assert_same(written(net, cache), written(before, cache))
    assert_same(written(net, cache), written(net, None))


@each_family
def test_what_is_loaded_writes_the_same(family, tmp_path):
    net = build(family)
    cut_(net, exact_names(net), lambda width: torch.arange(width.size) == 0, "producer")
    arch, expected = arch_of(net), written(net)
    pretrained.record(net, {width.name: width.size for width in arch.widths(net)}, [])
    net.save_pretrained(tmp_path)
    loaded = compressor.load(tmp_path)
    assert type(loaded).__name__ == type(net).__name__
    for found, wanted in zip(written(loaded), expected, strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize(("family", "name"), FIRST_ATTENTIONS)
@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_an_attention_without_heads_does_not_empty_the_cache(family, name, cache, tmp_path):
    net = build(family)
    before = cut_(net, [name], lambda width: torch.ones(width.size, dtype=torch.bool))
    assert_same(written(net, cache), written(before, cache))
    pretrained.record(net, {width.name: width.size for width in arch_of(net).widths(net)}, [])
    net.save_pretrained(tmp_path)
    assert torch.equal(written(compressor.load(tmp_path), cache)[0], written(net, cache)[0])


@each_family
def test_a_table_that_is_also_the_head_is_cut_once(family):
    net = build(family, tie_word_embeddings=True)
    arch = arch_of(net)
    surgery.resize_(net, arch, {"residual": 30})
    embeddings, head = net.get_input_embeddings().weight, net.get_output_embeddings().weight
    assert embeddings is head
    assert head.shape == (64, 30)
    assert written(net)[1].isfinite().all()
