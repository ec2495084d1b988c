"""Splits, batches and their order: every example once, padding exact, the same from the same seed."""

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.data.batches import Split, batch_order, metrics, prepare
from compressor.data.dataset import Dataset, open_dataset
from compressor.errors import InputError, RecipeError
from compressor.model import Source, load_model, logits_of

TEXT, IMAGE = "text-classification", "image-classification"


@pytest.fixture(scope="module")
def model(bert_folder):
    return load_model(Source(checkpoint=str(bert_folder), task=TEXT), None)


def prepared(file, task, seed=0, **options):
    settings = Dataset(dataset=str(file), **{"held_out": 0.25, **options})
    return prepare(open_dataset(settings, task.name), settings, task, seed)


@pytest.fixture(scope="module")
def data(sentences_csv, model):
    return prepared(sentences_csv, model.task)


def sentences(split, task):
    return [
        task.processor.decode(split.batch([i])["input_ids"][0], skip_special_tokens=True) for i in range(len(split))
    ]


def of_lengths(lengths):
    return Split(lambda indices: {"index": indices}, lengths, torch.zeros(len(lengths)))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_splits_are_apart_and_complete(data, model):
    parts = [sentences(split, model.task) for split in (data.train, data.held_out, data.report)]
    assert [len(part) for part in parts] == [54, 18, 8]
    assert len(set().union(*parts)) == 80
    assert data.report_name == "10% of train"


def test_what_is_held_out_follows_the_seed_and_the_report_does_not(sentences_csv, model, data):
    same, other = prepared(sentences_csv, model.task), prepared(sentences_csv, model.task, seed=1)
    assert sentences(same.held_out, model.task) == sentences(data.held_out, model.task)
    assert sentences(other.held_out, model.task) != sentences(data.held_out, model.task)
    assert sentences(other.report, model.task) == sentences(data.report, model.task)


def test_a_batch_is_what_the_tokenizer_pads(data, model):
    indices = torch.tensor([5, 0, 31])
    batch = data.train.batch(indices)
    expected = model.task.processor(sentences(data.train, model.task)[:32], padding=False)
    texts = [expected["input_ids"][i] for i in indices]
    padded = model.task.processor.pad({"input_ids": texts}, return_tensors="pt")
    assert torch.equal(batch["input_ids"], padded["input_ids"])
    assert torch.equal(batch["attention_mask"], padded["attention_mask"])
    assert list(batch) == ["input_ids", "attention_mask", "token_type_ids", "labels"]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_labels_are_those_of_the_sentences(data, model):
    for split in (data.train, data.held_out, data.report):
        said = [any(word in text for word in ("good", "bright", "warm")) for text in sentences(split, model.task)]
        assert split.labels.tolist() == said


def test_pairs_are_told_apart(tmp_path, model):
    rows = ["sentence1,sentence2,label", *["the film is good,the cast is very bad,0", "a plot,warm,1"] * 5]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    batch = prepared(tmp_path / "pairs.csv", model.task).train.batch(range(4))
    separators = (batch["input_ids"] == model.task.processor.sep_token_id).sum(dim=1)
    assert separators.tolist() == [2] * 4
    assert batch["token_type_ids"].max() == 1
    assert not (batch["token_type_ids"] * (1 - batch["attention_mask"])).any()


def test_long_texts_are_cut(sentences_csv, model):
    assert max(prepared(sentences_csv, model.task, max_length=6).train.lengths) == 6


def test_texts_are_cut_to_what_the_model_reads(tmp_path, model):
    (tmp_path / "long.csv").write_text("text,label\n" + f"{'a ' * 500},0\nthe,1\n" * 5)
    split = prepared(tmp_path / "long.csv", model.task, max_length=512).train
    assert max(split.lengths) == model.net.config.max_position_embeddings


def test_empty_texts_are_refused(tmp_path, model):
    (tmp_path / "holes.jsonl").write_text('{"text": "a", "label": 0}\n{"text": null, "label": 1}\n' * 4)
    with pytest.raises(InputError, match=r"column 'text' is empty in \d rows"):
        prepared(tmp_path / "holes.jsonl", model.task)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=300), st.integers(1, 16), st.none() | st.integers(0, 9))
def test_every_example_comes_once(lengths, batch_size, seed):
    order = list(batch_order(of_lengths(lengths), batch_size, None if seed is None else generator(seed)))
    assert sorted(torch.cat(order).tolist()) == list(range(len(lengths)))
    assert len(order) == -(-len(lengths) // batch_size)
    assert all(0 < len(batch) <= batch_size for batch in order)


def test_shuffled_batches_follow_the_seed_and_waste_little():
    lengths = torch.randint(1, 60, (2000,), generator=generator()).tolist()
    split = of_lengths(lengths)
    first, again, other = (list(batch_order(split, 8, generator(seed))) for seed in (0, 0, 1))
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in first)
    assert padded < 1.1 * sum(lengths)
    longest = [max(lengths[i] for i in batch) for batch in first]
    assert longest != sorted(longest, reverse=True)


def test_without_a_generator_the_longest_come_first():
    order = torch.cat(list(batch_order(of_lengths([3, 9, 1, 9, 4]), 2, None)))
    assert order.tolist() == [1, 3, 4, 0, 2]


def test_accuracy_is_the_share_of_right_answers(model, data):
    def always(output):
        return lambda batch: torch.eye(2)[output].expand(len(batch["labels"]), 2)

    positive = data.train.labels.float().mean().item()
    assert metrics(model.task, always(1), data.train, 8) == {"accuracy": pytest.approx(positive)}
    assert metrics(model.task, always(0), data.train, 8) == {"accuracy": pytest.approx(1 - positive)}


@pytest.mark.parametrize(("batch_size", "length"), [(1, 4), (3, 32)])
def test_example_inputs_are_valid(model, batch_size, length):
    inputs = model.task.inputs.example(model.task, model.net.config, batch_size, length, generator())
    assert tuple(inputs) == model.task.input_names
    assert inputs["attention_mask"][0].all()
    assert (inputs["input_ids"] * (1 - inputs["attention_mask"]) == model.task.processor.pad_token_id).all()
    assert logits_of(model)(inputs).shape == (batch_size, 2)
    again = model.task.inputs.example(model.task, model.net.config, batch_size, length, generator())
    assert all(torch.equal(inputs[name], again[name]) for name in inputs)


@pytest.fixture(scope="module")
def vit():
    return load_model(Source(config={"model_type": "vit", **tiny.VIT}, task=IMAGE), [str(digit) for digit in range(10)])


def test_images_are_processed_once(vit):
    split = prepared("sklearn:digits", vit.task).held_out
    batch = split.batch([0, 3, 1])
    assert batch["pixel_values"].shape == (3, 1, 8, 8)
    assert batch["pixel_values"].min() == -1
    assert batch["pixel_values"].max() == 1
    assert torch.equal(batch["pixel_values"], split.batch([0, 3, 1])["pixel_values"])
    assert torch.equal(batch["pixel_values"][2], split.batch([1])["pixel_values"][0])
    inputs = vit.task.inputs.example(vit.task, vit.net.config, 2, 0, generator())
    assert logits_of(vit)(inputs).shape == (2, 10)


def test_mirror_images_are_trained_on_under_the_same_label(vit, sentences_csv, model):
    data = prepared("sklearn:digits", vit.task, mirror=True)
    n_images = len(data.train) // 2
    assert n_images + len(data.held_out) + len(data.report) == 1797
    batch = data.train.batch([3, n_images + 3])
    assert torch.equal(batch["pixel_values"][0].flip(-1), batch["pixel_values"][1])
    assert batch["labels"][0] == batch["labels"][1]
    with pytest.raises(RecipeError, match=r"^data\.mirror: works on images only"):
        prepared(sentences_csv, model.task, mirror=True)


@pytest.mark.slow
def test_real_accuracy_of_the_checkpoint_on_sst2(shared):
    model = load_model(Source(checkpoint=str(shared / "models" / "minilm-sst2"), task=TEXT), None)
    options = Dataset(dataset=str(shared / "data" / "sst2"), train_split="test", report_split="validation")
    with pytest.raises(InputError, match="no row of 'test' has a label"):
        open_dataset(options, TEXT)
    options = Dataset(
        dataset=str(shared / "data" / "sst2" / "data" / "validation-00000-of-00001.parquet"), held_out=0.1
    )
    data = prepare(open_dataset(options, TEXT), options, model.task, seed=0)
    n_right = sum(
        metrics(model.task, logits_of(model), split, 32)["accuracy"] * len(split)
        for split in (data.train, data.held_out, data.report)
    )
    assert round(n_right) == 780  # of 872, as the checkpoint's own page says
