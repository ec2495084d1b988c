"""Laws of trimmed tokenizers: common texts keep their tokens, any text can be read, and the file loads as written."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from compressor.model import vocabulary

SENTENCES = [
    "the plot is thin but the cast is warm and witty",
    "a bright, funny film that never outstays its welcome",
    "dull beyond words; thinner than the thinnest plot",
    "wittier and warmer than it looks, if never brighter",
    "naïve in places, yet unbeatable where it counts",
]
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
FRAME = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)


def wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(vocab_size=140, special_tokens=SPECIAL))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    return tokenizer


def bytewise():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(), FRAME])
    return tokenizer


def fallback():
    """Like Llama's: whole texts without splitting, bytes for unknown characters, several ways to merge a token."""
    plain = Tokenizer(models.BPE(unk_token="[UNK]"))
    plain.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=360, special_tokens=[*SPECIAL, *(f"<0x{i:02X}>" for i in range(256))])
    plain.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    plain.train_from_iterator(SENTENCES, trainer)
    state = json.loads(plain.to_str())
    tokens = state["model"]["vocab"]
    ways = [[t[:i], t[i:]] for t in tokens for i in range(1, len(t)) if t[:i] in tokens and t[i:] in tokens]
    state["model"] |= {"byte_fallback": True, "merges": sorted(ways, key=lambda way: tokens["".join(way)])}
    state |= {"pre_tokenizer": None, "added_tokens": state["added_tokens"][: len(SPECIAL)]}
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.ByteFallback()
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, unk_token="[UNK]")
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = FRAME
    return tokenizer


@pytest.fixture(scope="module", params=[wordpiece, bytewise, fallback, unigram], ids=lambda kind: kind.__name__)
def tokenizer(request):
    """Tokenizer of each kind, with a word added behind those of the model."""
    built = request.param()
    built.add_tokens([AddedToken("witty", single_word=True)])
    return built


def trim(tokenizer, wanted):
    state = json.loads(tokenizer.to_str())
    kept = vocabulary.closed(state, wanted)
    return kept, Tokenizer.from_str(json.dumps(vocabulary.trimmed(state, kept)))


def tokens_of(tokenizer, texts):
    return {index for text in texts for index in tokenizer.encode(text).ids}


texts = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)


@settings(max_examples=30, deadline=None)
@given(common=st.lists(texts, max_size=3), other=texts)
def test_texts_of_tokens_that_stay_keep_them(tokenizer, common, other):
    kept, trimmed = trim(tokenizer, tokens_of(tokenizer, common))
    for text in [*common, other]:
        before = tokenizer.encode(text).ids
        if set(before) <= set(kept):
            assert [kept[index] for index in trimmed.encode(text).ids] == before


@settings(max_examples=30, deadline=None)
@given(common=st.lists(texts, max_size=3), text=st.text() | texts)
def test_any_text_can_be_read(tokenizer, common, text):
    kept, trimmed = trim(tokenizer, tokens_of(tokenizer, common))
    found = trimmed.encode(text, text).ids
    assert all(0 <= index < len(kept) for index in found)
    unknown = tokenizer.token_to_id("[UNK]")
    if unknown not in tokenizer.encode(text, text).ids and not set(text) - set("".join(SENTENCES)):
        assert unknown not in [kept[index] for index in found]  # spelled, if need be


def test_few_tokens_stay_and_those_keep_their_names(tokenizer):
    kept, trimmed = trim(tokenizer, [])
    assert len(kept) < tokenizer.get_vocab_size()
    assert trimmed.get_vocab() == {tokenizer.id_to_token(index): new for new, index in enumerate(kept)}
    assert {*SPECIAL, "witty"} <= trimmed.get_vocab().keys()


def test_the_file_loads_as_it_was_written(tokenizer, tmp_path):
    _, trimmed = trim(tokenizer, tokens_of(tokenizer, SENTENCES[:2]))
    trimmed.save(str(tmp_path / "tokenizer.json"))
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert again.get_vocab() == trimmed.get_vocab()
    assert [again.encode(text, "a film").ids for text in SENTENCES] == [
        trimmed.encode(text, "a film").ids for text in SENTENCES
    ]


def test_keeping_all_changes_nothing(tokenizer):
    state = json.loads(tokenizer.to_str())
    everything = list(range(tokenizer.get_vocab_size()))
    assert vocabulary.closed(state, everything) == everything
    assert vocabulary.trimmed(state, everything) == state


def test_a_merged_token_keeps_what_it_is_merged_from():
    tokenizer = bytewise()
    thinner = tokenizer.encode("thin").ids[1:-1]
    kept, trimmed = trim(tokenizer, thinner)
    assert len(thinner) < len("thin")
    assert [kept[index] for index in trimmed.encode("thin").ids[1:-1]] == thinner


def test_the_least_likely_piece_stays_for_the_score_of_the_unknown():
    tokenizer = unigram()
    vocab = json.loads(tokenizer.to_str())["model"]["vocab"]
    kept, _ = trim(tokenizer, [])
    assert min(score for _, score in vocab) == min(vocab[index][1] for index in kept if index < len(vocab))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"), "WordLevel"),
        (models.BPE({"a</w>": 0}, [], end_of_word_suffix="</w>"), "BPE with affixes"),
    ],
)
def test_other_kinds_are_refused(model, name):
    with pytest.raises(ValueError, match=f"WordPiece, BPE and Unigram, not from {name}; leave it out"):
        trim(Tokenizer(model), [])
