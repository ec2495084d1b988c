"""Fixtures that several tests share: a tiny BERT folder, a small CSV file, and the real data beside the checkout."""

import os
import signal
import tempfile
from pathlib import Path

CACHE = tempfile.TemporaryDirectory(prefix="compressor-tests-")  # read at import, so set before transformers comes in
os.environ |= {"HF_HOME": CACHE.name, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}

import pytest  # noqa: E402
import text_files  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items):
    """Mark the tests that need ../shared, so that `-m "not shared"` leaves them out."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory):
    """Random BERT classifier of two layers with a tokenizer of its own; labels: negative, positive."""
    return text_files.bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def sentences_csv(tmp_path_factory):
    """Eighty short reviews in a CSV file, with the columns sentence and label: negative or positive."""
    return text_files.reviews(tmp_path_factory.mktemp("csv") / "reviews.csv")


@pytest.fixture(scope="session")
def shared():
    """Folder `shared` beside the checkout, with real models and data; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside the checkout: real models and data are absent")
    return SHARED
