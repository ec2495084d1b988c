"""README and docs follow the code: commands, recipes, pages, examples."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from compressor.cli import cli
from compressor.recipe import load_recipe, parse
from compressor.recipe.packaged import summaries

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help_with_examples_and_a_mention(name):
    command = cli.commands[name]
    assert command.help
    assert "Examples:" in command.epilog
    assert f"compress {name}" in README
    assert f"compress {name}" in (ROOT / "docs/cli.md").read_text()


@pytest.mark.parametrize("name", sorted(summaries()))
def test_every_packaged_recipe_loads_and_is_described(name):
    load_recipe(name)
    assert len(summaries()[name]) > 20


def test_the_recipe_in_the_readme_is_valid():
    import yaml

    parse(yaml.safe_load(blocks("yaml")[0]))


def test_the_python_in_the_readme_runs(tmp_path):
    done = subprocess.run([sys.executable, "-c", blocks("python")[0]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "out_features=16" in done.stdout


def test_ci_runs_the_test_command_of_the_readme():
    install_and_check = next(block for block in blocks("bash") if "./check" in block).strip()
    assert install_and_check in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_point_to_files_that_are_there(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_lists_every_page():
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in README, page.name
