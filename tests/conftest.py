"""Fixtures that several tests share: a tiny BERT folder, a small CSV file, and the real data beside the checkout."""

import os
import signal
import tempfile
from pathlib import Path

CACHE = tempfile.TemporaryDirectory(prefix="compressor-tests-")  # read at import, so set before transformers comes in
os.environ |= {"HF_HOME": CACHE.name, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a the this film plot cast is was good bright warm bad dull cold very not ##ly"
SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items):
    """Mark the tests that need ../shared, so that `-m "not shared"` leaves them out."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory):
    """Random BERT classifier of two layers with a tokenizer of its own; labels: negative, positive."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    words = WORDS.split()
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=128,
        id2label={0: "negative", 1: "positive"},
        label2id={"negative": 0, "positive": 1},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizer(vocab={word: index for index, word in enumerate(words)}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sentences_csv(tmp_path_factory):
    """Eighty short reviews in a CSV file, with the columns sentence and label: negative or positive."""
    words = {"negative": ("bad", "dull", "cold"), "positive": ("good", "bright", "warm")}
    rows = [
        f"the {noun} is {'very ' * n_very}{word},{label}"
        for label in words
        for word in words[label]
        for noun in ("film", "plot", "cast")
        for n_very in range(5)
    ]
    file = tmp_path_factory.mktemp("csv") / "reviews.csv"
    file.write_text("\n".join(["sentence,label", *rows[:40], *rows[-40:]]) + "\n")
    return file


@pytest.fixture(scope="session")
def shared():
    """Folder `shared` beside the checkout, with real models and data; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside the checkout: real models and data are absent")
    return SHARED
