"""This project gates its quick-start network: by what never varies, it is its own equal, and a wider copy is caught."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from tiny import bare_context

from compressor import cli
from compressor.model import Source, load_model
from compressor.stages import export

RECIPE = Path(__file__).parents[2] / "recipes" / "digits_l1inf.yaml"
LIMITS = ("bytes", "parameters", "flops")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Write the network of the quick start, and one with a feed-forward block twice as wide, with random weights."""

    def file(name, **wider):
        torch.manual_seed(0)
        config = yaml.safe_load(RECIPE.read_text())["model"]["config"] | wider
        source = Source(config=config, task="image-classification")
        context = bare_context(tmp_path_factory.mktemp(name))
        return export.run(load_model(source, list("0123456789")), export.Options(stage="export"), context).path

    return SimpleNamespace(same=file("same"), wider=file("wider", intermediate_size=512))


def gated(capsys, new, baseline):
    """Exit code of a gate that lets nothing grow, and its verdicts on what never varies."""
    limits = [word for name in LIMITS for word in (f"--max-{name}", "0%")]
    exit_code = cli.main(["gate", str(new), "--baseline", str(baseline), "--budget", "1s", *limits, "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    return exit_code, {check["name"]: check["verdict"] for check in checks if check["name"] in LIMITS}


def test_the_quick_start_is_no_larger_than_itself(exported, capsys):
    _, verdicts = gated(capsys, exported.same, exported.same)  # the exit code hangs on the time, too
    assert verdicts == dict.fromkeys(LIMITS, "pass")


def test_a_wider_copy_is_caught(exported, capsys):
    assert gated(capsys, exported.wider, exported.same) == (6, dict.fromkeys(LIMITS, "regression"))
