"""This project gates its quick-start network: it must not be slower than itself, and a wider copy must be caught."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from tiny import bare_context

from compressor.model import Source, load_model
from compressor.stages import export

RECIPE = Path(__file__).parents[2] / "recipes" / "digits_l1inf.yaml"


pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Write the network of the quick start, and one with a feed-forward block twice as wide, with random weights."""

    def file(name, **wider):
        torch.manual_seed(0)
        config = yaml.safe_load(RECIPE.read_text())["model"]["config"] | wider
        source = Source(config=config, task="image-classification")
        folder = tmp_path_factory.mktemp(name)
        context = bare_context(folder)
        return export.run(load_model(source, list("0123456789")), export.Options(stage="export"), context).path

    return SimpleNamespace(same=file("same"), wider=file("wider", intermediate_size=512))


def gated(new, baseline):
    command = [sys.executable, "-m", "compressor.cli", "gate", str(new), "--baseline", str(baseline), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, json.loads(done.stdout)["verdict"]


def test_the_quick_start_is_not_slower_than_itself(exported):
    assert gated(exported.same, exported.same) in [(0, "pass"), (0, "improved"), (7, "inconclusive")]


def test_a_wider_copy_is_caught(exported):
    assert gated(exported.wider, exported.same) == (6, "regression")
