import shutil
from typing import Any

import pytest
import torch
from task_runs import measure_briefly
from tiny import TINY
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

import compressor
from compressor.data.batches import Data, Split, prepare
from compressor.data.dataset import Dataset, open_dataset
from compressor.errors import NumericsError, RecipeError
from compressor.model.artifact import Model, load_model, open_model, open_task, save_model
from compressor.model.checkpoint import Source
from compressor.model.outputs import logits_of
from compressor.stages import drop_layers, factorize, trim_vocabulary
from compressor.training.context import Context
from compressor.training.remembered import AnswerFiles
from compressor.training.teacher import Originals

TEXT = "text-classification"
FAMILIES = [family for family, settings in TINY.items() if "vocab_size" in settings]
SPECIAL = ["[PAD]", "[BOS]", "[EOS]", "[UNK]"]
SEEN = ["the", "film", "plot", "cast", "is", "very", "bad", "dull", "cold", "good", "bright", "warm"]
REMOVED = ["this", "was", "not", "##ly"]  # words of the tiny tokenizer that no review has


def data_of(model, file, **settings):
    options = Dataset(dataset=str(file), **{"held_out": 0.25, **settings})
    return prepare(open_dataset(options, TEXT), options, model.task, 0)


def context_of(model, folder, data, **settings):
    return Context(
        folder, "key", 0, data, Originals(model.copy(), model.copy, data, AnswerFiles(folder, "key")), **settings
    )


def trim(model, context, **settings):
    return trim_vocabulary.run(model, trim_vocabulary.Options(stage="trim_vocabulary", **settings), context)


@pytest.fixture
def data(bert, sentences_csv):
    return data_of(bert, sentences_csv)


def test_words_that_no_text_has_go_and_the_rest_is_answered_alike(bert, data, tmp_path):
    trimmed = trim(bert, context_of(bert, tmp_path, data))
    before, after = bert.task.processor.get_vocab(), trimmed.task.processor.get_vocab()
    assert before.keys() - after.keys() == set(REMOVED)
    assert trimmed.net.get_input_embeddings().weight.shape == (len(after), 16)
    text = ["the film is very good"]
    old, new = (model.task.processor(text, return_tensors="pt") for model in (bert, trimmed))
    assert torch.equal(logits_of(trimmed)(new), logits_of(bert)(old))
    assert trimmed.task.processor.tokenize("a film") == ["a", "film"]  # one character stays without being seen


def test_a_factorized_table_loses_its_rows_too_and_loads_again(bert, data, tmp_path):
    model = bert.copy()
    settings: dict[str, Any] = {"layers": ["*word_embeddings"], "rank": 4, "norm": "weight"}
    model = factorize.run(
        model, factorize.Options(stage="factorize", **settings), context_of(model, tmp_path, data, is_dry=True)
    )
    trimmed = trim(model, context_of(model, tmp_path, data))
    n_tokens = len(trimmed.task.processor)
    assert trimmed.net.get_input_embeddings().weight.shape == (n_tokens, 4)
    save_model(trimmed, tmp_path / "saved")
    loaded = open_model(tmp_path / "saved", trimmed.task)
    text = trimmed.task.processor(["the film is very good"], return_tensors="pt")
    assert torch.equal(logits_of(loaded)(text), logits_of(trimmed)(text))


def test_the_model_that_came_in_is_untouched(bert, data, tmp_path):
    before = {name: tensor.clone() for name, tensor in bert.net.state_dict().items()}
    trim(bert, context_of(bert, tmp_path, data))
    assert bert.net.config.vocab_size == len(bert.task.processor)
    assert all(torch.equal(tensor, before[name]) for name, tensor in bert.net.state_dict().items())


def test_rarer_words_go_with_a_larger_count(bert, data, tmp_path):
    n_tokens = [
        trim(bert, context_of(bert, tmp_path, data), min_count=least).net.config.vocab_size for least in (1, 12, 10**6)
    ]
    assert n_tokens == sorted(n_tokens, reverse=True)
    assert len(set(n_tokens)) == 3
    assert n_tokens[-1] == 6  # special tokens, and the only letter


def test_it_is_an_ordinary_checkpoint(bert, data, tmp_path):
    trimmed = trim(bert, context_of(bert, tmp_path, data))
    save_model(trimmed, tmp_path / "model")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    rows = AutoTokenizer.from_pretrained(tmp_path / "model")(["a good film"], return_tensors="pt")
    assert rows.input_ids.tolist() == trimmed.task.processor(["a good film"]).input_ids
    assert torch.equal(plain(**rows).logits, logits_of(trimmed)(rows))
    task = open_task(tmp_path / "model", bert.task)
    assert task.processor.model_max_length == bert.task.processor.model_max_length == 128
    again = open_model(tmp_path / "model", task)
    assert torch.equal(logits_of(again)(rows), logits_of(trimmed)(rows))


def test_accuracy_is_that_of_the_new_tokens(bert, data, tmp_path):
    context = context_of(bert, tmp_path, data)
    trimmed = trim(bert, context)
    assert context.trainer.evaluate(trimmed) == context.trainer.evaluate(bert)
    again = data.for_task(trimmed.task)
    assert again is data.for_task(trimmed.task)
    assert again.train.lengths == data.train.lengths
    assert data.for_task(bert.task) is data


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_alike_with_its_special_tokens_moved(family, sentences_csv, tmp_path):
    model = load_model(Source(checkpoint=str(_saved(family, tmp_path / "original")), task=TEXT), None)
    data = data_of(model, sentences_csv)
    trimmed = trim(model, context_of(model, tmp_path, data))
    assert trimmed.net.config.pad_token_id == trimmed.task.processor.pad_token_id
    assert trimmed.net.config.sep_token_id is None
    save_model(trimmed, tmp_path / "model")
    again = open_model(tmp_path / "model", open_task(tmp_path / "model", model.task))
    assert again.net.config.vocab_size < model.net.config.vocab_size
    before, after = (each.held_out.batch(range(8)) for each in (data, data.for_task(again.task)))
    torch.testing.assert_close(logits_of(again)(after), logits_of(model)(before), rtol=1e-5, atol=1e-5)


def _saved(family, folder):
    """Save a network of a family with a tokenizer whose special tokens come last, if positions do not hang on them."""
    words = [*(f"word{i}" for i in range(40)), *SEEN]
    tokens = [*SPECIAL, *words] if family == "roberta" else [*words, *SPECIAL]
    ids = {token: index for index, token in enumerate(tokens)}
    plain = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    end = [("[EOS]", ids["[EOS]"])]
    plain.post_processor = processors.TemplateProcessing(single="$A [EOS]", special_tokens=end)
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=plain, **names).save_pretrained(folder)
    named = {f"{name}_id": ids[token] for name, token in names.items()} | {"decoder_start_token_id": ids["[PAD]"]}
    nowhere = {"cls_token_id": None, "sep_token_id": 63}  # a row without a token
    labels = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
    config = AutoConfig.for_model(family, **TINY[family] | named | nowhere | labels)
    net = AutoModelForSequenceClassification.from_config(config)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # large, so that a wrong answer shows
    net.save_pretrained(folder)
    return folder


def test_layers_are_chosen_in_the_new_tokens(bert, data, tmp_path):
    context = context_of(bert, tmp_path, data)
    trimmed = trim(bert, context)
    kept = drop_layers.run(trimmed, drop_layers.Options(stage="drop_layers", n_layers=1), context)
    assert len(kept.layers) == 1


def test_trimming_twice_counts_in_the_new_tokens(bert, data, tmp_path):
    context = context_of(bert, tmp_path, data)
    once = trim(bert, context)
    assert trim(once, context).task.processor.get_vocab() == once.task.processor.get_vocab()


def test_images_have_no_vocabulary(vit, tmp_path):
    pixels = Split(lambda indices: {"pixel_values": torch.zeros(len(indices), 1, 8, 8)}, [1], torch.zeros(1))
    images = Data(pixels, pixels, pixels, pixels, "test", vit.task.processor, lambda task: images)
    with pytest.raises(ValueError, match="works on text"):
        trim(vit, context_of(vit, tmp_path, images))


def test_a_tokenizer_without_its_file_is_refused(bert, data, tmp_path, monkeypatch):
    monkeypatch.setattr(type(bert.task.processor), "save_pretrained", lambda *_: None)
    with pytest.raises(ValueError, match=r"BertTokenizer has no tokenizer\.json"):
        trim(bert, context_of(bert, tmp_path, data))


def test_rows_of_other_tokens_are_caught(bert, data, tmp_path, monkeypatch):
    keep_rows_ = trim_vocabulary._keep_rows_
    monkeypatch.setattr(trim_vocabulary, "_keep_rows_", lambda net, kept: keep_rows_(net, [*kept[1:], kept[0]]))
    with pytest.raises(NumericsError, match="vocabulary"):
        trim(bert, context_of(bert, tmp_path, data))


def test_texts_split_in_another_way_are_caught(bert, data, tmp_path):
    trimmed = trim(bert, context_of(bert, tmp_path, data))
    other = Model(trimmed.net, trimmed.arch, trimmed.task)
    kept = torch.arange(trimmed.net.config.vocab_size)
    with pytest.raises(NumericsError, match="held-out text"):
        trim_vocabulary._prove_tokens(bert, other, kept.flip(0), 128, context_of(bert, tmp_path, data))


@pytest.fixture
def recipe(bert_folder, sentences_csv):
    return {
        "model": {"checkpoint": str(bert_folder), "task": TEXT},
        "data": {"dataset": str(sentences_csv), "held_out": 0.25},
        "stages": [
            {"stage": "finetune", "retrain": {"steps": 5, "distill": {}}},
            {"stage": "trim_vocabulary"},
            {"stage": "export"},
            {"stage": "quantize"},
        ],
        "bench": {"lengths": [8]},
    }


@pytest.mark.slow
def test_a_run_says_what_went_and_resumes_in_the_same_bits(recipe, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    measure_briefly(monkeypatch)
    report = compressor.run(recipe, folder)
    n_before = len(AutoTokenizer.from_pretrained(recipe["model"]["checkpoint"]))
    n_left = n_before - len(REMOVED)
    vocabulary = next(width for width in report["widths"] if width["name"] == "vocabulary")
    assert (vocabulary["n_units"], vocabulary["n_units_original"]) == (n_left, n_before)
    line = f"- vocabulary: {n_left} left of {n_before}\n"
    assert all(
        line in (folder / name / "README.md").read_text() for name in ("01-trim_vocabulary/model", "03-quantize")
    )
    assert len(AutoTokenizer.from_pretrained(folder / "03-quantize")) == n_left
    assert report["stages"][1]["accuracy_held_out"] == report["stages"][0]["accuracy_held_out"]
    n_params = [stage["n_params"] or 0 for stage in report["stages"]]
    assert n_params[1] == n_params[0] - 16 * len(REMOVED) > 0
    assert report["stages"][1]["n_flops"] == report["stages"][0]["n_flops"]

    before = {name: (folder / name).read_bytes() for name in ("02-export/model.onnx", "03-quantize/model.onnx")}
    shutil.rmtree(folder / "02-export")
    again = compressor.run(recipe, folder)
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert [each["accuracy"] for each in again["variants"]] == [each["accuracy"] for each in report["variants"]]


def test_a_check_finds_training_behind_it(recipe):
    recipe["stages"][:2] = reversed(recipe["stages"][:2])
    with pytest.raises(
        RecipeError, match=r"^stages\[1\] \(finetune\): the vocabulary is already trimmed; put trim_voc"
    ):
        compressor.check(recipe)
