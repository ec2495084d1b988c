"""Fixtures of the stages: a tiny model, and its exported graph."""

import pytest
from tiny import VIT, bare_context

from compressor.model import Source, load_model
from compressor.stages import export

METADATA = {"producer": "compressor", "version": "0.0", "source": "hub/name", "recipe": "0123"}


@pytest.fixture(scope="session")
def context():
    """Give the context of a stage that neither trains nor evaluates, in a folder made for it."""

    def make(folder):
        folder.mkdir(exist_ok=True)
        return bare_context(folder, "key", metadata=METADATA)

    return make


@pytest.fixture(scope="session")
def bert(bert_folder):
    """Tiny BERT that tests do not change."""
    return load_model(Source(checkpoint=str(bert_folder), task="text-classification"), None)


@pytest.fixture(scope="session")
def bert_graph(bert, context, tmp_path_factory):
    """Export the tiny BERT, once for all tests."""
    return export.run(bert, export.Options(stage="export"), context(tmp_path_factory.mktemp("export")))


@pytest.fixture
def vit():
    """Tiny ViT of one layer, new for each test."""
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    config = {"model_type": "vit", **VIT, **sizes}
    return load_model(Source(config=config, task="image-classification"), ("no", "yes"))
