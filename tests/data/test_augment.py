"""Synthetic sentences: how many, of which words, and that they carry no label."""

import pytest
import torch

from compressor.data import Dataset, open_dataset, prepare
from compressor.data.augment import augmented, neighbours
from compressor.data.options import Augment
from compressor.errors import RecipeError
from compressor.model import load_model
from compressor.model.checkpoint import Source
from compressor.numerics.classification import NO_LABEL, cross_entropy

TASK = "text-classification"


@pytest.fixture(scope="module")
def model(bert_folder):
    return load_model(Source(checkpoint=str(bert_folder), task=TASK), None)


@pytest.fixture(scope="module")
def train(sentences_csv, model):
    options = Dataset(dataset=str(sentences_csv), held_out=0.1)
    return prepare(open_dataset(options, TASK), options, model.task, seed=0).train


def texts(split, indices):
    batch = split.batch(indices)
    return [ids[mask.bool()].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]


def test_real_examples_stay_and_copies_have_no_label(train, model):
    split = augmented(train, Augment(copies=3), model, seed=0)
    assert len(split) == 4 * len(train)
    everything = range(len(train))
    assert texts(split, everything) == texts(train, everything)
    assert torch.equal(split.labels[: len(train)], train.labels)
    assert (split.labels[len(train) :] == NO_LABEL).all()


def test_without_replacing_and_joining_copies_are_the_same(train, model):
    split = augmented(train, Augment(copies=1, replace=0, join=0), model, seed=0)
    assert texts(split, range(len(train), len(split))) == texts(train, range(len(train)))


def test_joined_texts_are_two_texts_between_one_pair_of_marks(train, model):
    split = augmented(train, Augment(copies=1, replace=0, join=1), model, seed=0)
    first, last = (model.task.processor.convert_tokens_to_ids(token) for token in ("[CLS]", "[SEP]"))
    originals = {tuple(text[1:-1]) for text in texts(train, range(len(train)))}
    for text in texts(split, range(len(train), len(split))):
        assert (text[0], text[-1], text.count(first), text.count(last)) == (first, last, 1, 1)
        inner = tuple(text[1:-1])
        assert any(inner[:at] in originals and inner[at:] in originals for at in range(len(inner)))


def test_words_are_swapped_for_their_nearest_words_only(train, model):
    table = neighbours(model, train.encode.flat["input_ids"])
    split = augmented(train, Augment(copies=1, replace=1, join=0), model, seed=0)
    pairs = zip(texts(train, range(len(train))), texts(split, range(len(train), len(split))), strict=True)
    swaps = {(old, new) for before, after in pairs for old, new in zip(before, after, strict=True)}
    assert all(new in table[old] for old, new in swaps)
    tokens = model.task.processor.convert_ids_to_tokens(range(len(table)))
    assert all((old == new) == (not tokens[old].isalpha()) for old, new in swaps)


def test_images_are_refused(train, model):
    pixels = type(train)(lambda indices: {}, train.lengths, train.labels)
    with pytest.raises(RecipeError, match=r"data\.augment: works on text"):
        augmented(pixels, Augment(), model, seed=0)


def test_the_task_loss_ignores_examples_without_a_label():
    logits = torch.tensor([[2.0, -1.0], [0.3, 0.9]])
    labels = torch.tensor([1, NO_LABEL])
    assert cross_entropy(logits, labels) == pytest.approx(float(cross_entropy(logits[:1], labels[:1])) / 2)
    assert cross_entropy(logits, torch.full((2,), NO_LABEL)) == 0
