"""README and docs follow the code: commands, recipes, pages, examples."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from compressor.cli import cli
from compressor.recipe import load_recipe, parse
from compressor.recipe.packaged import summaries

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "tests/README.md"]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help_with_examples_and_a_mention(name):
    command = cli.commands[name]
    assert command.help
    assert "Examples:" in (command.epilog or "")
    assert f"compress {name}" in README
    assert f"compress {name}" in (ROOT / "docs/reference/cli.md").read_text()


def shown_commands():
    """Every `compress` command that a block of a page shows, in words."""
    for page in PAGES:
        for block in re.findall(r"```(?:bash|text|yaml)\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if found := re.match(r"(?:\$ |- run: )?compress ([^#>|&(]*)", line):
                    yield page, found[1].split()


def test_every_command_in_the_pages_has_the_options_that_it_is_shown_with():
    shown = list(shown_commands())
    assert len(shown) > 40
    for page, (name, *words) in shown:
        assert name in cli.commands or name.startswith(("--", "[")), f"{page}: compress {name}"
        command = cli.commands.get(name, cli)
        known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--version"}
        options = {word.partition("=")[0] for word in (name, *words) if word.startswith("--")}
        assert options <= known, f"{page}: compress {name} {' '.join(words)}"


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
    assert "Conv2d(3, 8, " in done.stdout


def test_ci_installs_what_the_readme_says_and_runs_every_check():
    install, check = next(block for block in blocks("bash") if "./check" in block).strip().rsplit(" && ", 1)
    commands = (ROOT / ".ci/run").read_text().splitlines()
    assert install in commands
    assert commands[-1] == f"{check} --slow"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_point_to_files_and_headings_that_are_there(page):
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def test_contributing_names_files_that_are_there():
    """Words in capitals stand for the name of the new file."""
    words = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", (ROOT / "CONTRIBUTING.md").read_text())
    places = [word for word in words if "NAME" not in word]
    assert len(places) > 10
    assert [place for place in places if not (ROOT / place).exists()] == []


def anchors(page):
    """Names of a page's headings, as GitHub and mkdocs make them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_the_readme_and_the_site_list_every_page():
    site = (ROOT / "mkdocs.yml").read_text()
    for page in sorted(page for page in (ROOT / "docs").rglob("*.*") if page.suffix in (".md", ".ipynb")):
        assert f"({page.relative_to(ROOT)})" in README
        assert f": {page.relative_to(ROOT / 'docs')}\n" in site


def test_the_readme_says_where_every_folder_of_the_package_is():
    folders = {file.parent.relative_to(ROOT) for file in (ROOT / "compressor").glob("*/*.py")}
    assert len(folders) > 10
    assert [str(folder) for folder in sorted(folders) if f"| `{folder}/` |" not in README] == []


def test_the_options_in_the_guide_are_those_of_the_command_line():
    page = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    reference = runpy.run_path(str(ROOT / "docs/cli_reference.py"))["reference"]
    assert page == reference(page), "run: python docs/cli_reference.py"
