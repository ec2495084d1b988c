"""The wheel holds all that the commands need: installed without the checkout, it runs."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import compressor
from compressor.recipe.packaged import summaries

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]


def run(*command, cwd):
    """Run a command that knows nothing of the checkout, and give what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Make an environment of nothing but the wheel; its dependencies are those of the environment of the tests.

    A folder that a .pth file names is searched last, and its own .pth files, an editable install's, are not read.
    """
    home = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", ROOT, "--no-deps", "--no-build-isolation", "--wheel-dir", home, cwd=home)
    venv.create(home / "venv")
    [wheel] = home.glob("compressor-*.whl")
    run(*pip, "--python", home / "venv/bin/python", "install", "--no-deps", "--no-index", wheel, cwd=home)
    [packages] = (home / "venv/lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


def test_the_package_is_the_wheels_and_says_that_it_is_typed(home):
    printed = run(home / "venv/bin/python", "-c", "import compressor; print(compressor.__file__)", cwd=home)
    package = Path(printed.strip()).parent
    assert package.is_relative_to(home / "venv")
    assert (package / "py.typed").exists()


@pytest.mark.parametrize(
    "command", [["bin/compress"], ["bin/python", "-m", "compressor.cli"]], ids=["script", "module"]
)
def test_both_ways_to_start_it_give_the_version(home, command):
    printed = run(home / "venv" / command[0], *command[1:], "--version", cwd=home)
    assert printed == f"compress {compressor.__version__}\n"


def test_every_packaged_recipe_is_listed(home):
    printed = run(home / "venv/bin/compress", "recipes", cwd=home)
    assert [name for name in summaries() if name not in printed] == []
    assert summaries()


def test_a_packaged_recipe_is_checked_with_its_model_and_data(home):
    printed = run(home / "venv/bin/compress", "check", "digits_l1inf.yaml", cwd=home)
    assert "\nquantize " in printed
