"""The emulated Cortex of `examples/emulated_cortex.py`: how it is set up, and that exports compute the same there.

Its packages and wheels, 210 MB, are kept in pytest's cache, or in the folder that COMPRESSOR_CORTEX names.
"""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import emulated_cortex as example
import pytest
import torch
import yaml
from tiny import bare_context

from compressor import cli
from compressor.bench import host
from compressor.model import Source, load_model
from compressor.stages import export, quantize

RECIPE = Path(__file__).parents[2] / "recipes" / "digits_l1inf.yaml"
PROGRAMS = ("qemu-aarch64", "apt-get", "dpkg-deb")
LIST = """\
# deb http://commented.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib  # the usual one
deb [arch=amd64,arm64 signed-by=/usr/share/keyrings/ours.gpg] https://mirror.example/security bookworm-security main
deb [ arch=amd64 ] http://pc.example/debian bookworm-updates main
deb-src http://mirror.example/debian bookworm main
deb https://editor.example/repo stable non-free
deb https://database.example/apt bookworm-pgdg main
"""
SOURCES = """\
# a comment
Types: deb deb-src
URIs: http://other.example/debian
Suites: bookworm bookworm-updates
# in the middle
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJKwYBBAHaRw8BAQdAd7Z0
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://switched.example/debian
Suites: bookworm
Components: main
Enabled: no
"""
AUXILIARY_VECTOR = """
import ctypes
libc = ctypes.CDLL(None)
libc.getauxval.restype = ctypes.c_ulong
print(libc.getauxval(ctypes.c_ulong(16)))  # AT_HWCAP
"""
HWCAP = {  # bits of AT_HWCAP: arch/arm64/include/uapi/asm/hwcap.h of Linux
    **{"fp": 0, "asimd": 1, "aes": 3, "pmull": 4, "sha1": 5, "sha2": 6, "crc32": 7, "atomics": 8, "fphp": 9},
    **{"asimdhp": 10, "cpuid": 11, "asimdrdm": 12, "lrcpc": 15, "dcpop": 16, "asimddp": 20},
}


@pytest.fixture
def etc(tmp_path):
    """Make a host's list of mirrors, in both formats of apt."""
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(LIST)
    (tmp_path / "sources.list.d/other.sources").write_text(SOURCES)
    (tmp_path / "sources.list.d/other.sources.bak").write_text(SOURCES)
    return tmp_path


def test_mirrors_of_the_release_are_taken_as_far_as_they_may_have_arm64(etc):
    usual, security, other = example.host_sources(etc, "bookworm", mirror=None)
    assert usual == {
        "types": "deb",
        "uris": "http://mirror.example/debian",
        "suites": "bookworm",
        "components": "main contrib",
    }
    assert security["architectures"] == "amd64 arm64"
    assert security["signed-by"] == "/usr/share/keyrings/ours.gpg"
    assert other["suites"] == "bookworm bookworm-updates"
    assert other["signed-by"].splitlines()[1:3] == [" .", " mDMEY865UxYJKwYBBAHaRw8BAQdAd7Z0"]


def test_a_mirror_takes_the_place_of_all_those_of_the_release(etc):
    taken = example.host_sources(etc, "bookworm", mirror="http://arm.example/debian")
    assert {entry["uris"] for entry in taken} == {"http://arm.example/debian"}
    suites = {suite for entry in taken for suite in entry["suites"].split()}
    assert suites == {"bookworm", "bookworm-security", "bookworm-updates"}
    assert {entry["architectures"] for entry in taken} == {"arm64"}


def test_a_host_without_mirrors_of_its_release_is_an_error(etc):
    with pytest.raises(example.SetupError, match=r"no source of arm64 packages for noble; give a mirror with --mirror"):
        example.host_sources(etc, "noble", mirror=None)


@pytest.mark.skipif(not shutil.which("apt-get"), reason="no apt-get here")
def test_apt_reads_the_mirrors_as_we_do(etc, tmp_path):
    """apt itself lists what it would fetch for arm64, from the host's files and from the one written for it."""

    def fetched(*options):
        wanted = ("--no-release-info", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ARCHITECTURE)")
        command = ["apt-get", "indextargets", *options, *wanted, "Created-By: Packages"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return {line for line in done.stdout.splitlines() if line.endswith("main arm64")}

    sources = example.host_sources(etc, "bookworm", mirror=None)
    ours = fetched("-c", str(example.write_apt(tmp_path / "apt", sources)))
    places = {"Dir::Etc::sourcelist": etc / "sources.list", "Dir::Etc::sourceparts": etc / "sources.list.d"}
    settings = [f"{name}={value}" for name, value in {**places, "APT::Architecture": "arm64"}.items()]
    empty = [f"Dir::State::Lists={tmp_path}", "APT::Architectures=arm64"]
    theirs = fetched(*(word for setting in [*settings, *empty] for word in ("-o", setting)))
    assert len(ours) == 4
    assert ours == {line for line in theirs if "database.example" not in line}


@pytest.mark.skipif(not shutil.which("apt-config"), reason="no apt here")
def test_apt_keeps_to_its_own_folder(tmp_path):
    config = example.write_apt(tmp_path / "a folder", [])
    done = subprocess.run(["apt-config", "-c", str(config), "dump"], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert 'APT::Architecture "arm64";' in lines
    assert f'Dir::State "{tmp_path}/a folder/state";' in lines
    assert f'Dir::State::status "{tmp_path}/a folder/status";' in lines
    assert f'Dir::Cache "{tmp_path}/a folder/cache";' in lines
    assert not [line for line in lines if "Invoke" in line]


@pytest.mark.parametrize("cpu", example.CORES)
def test_the_bench_knows_the_processor_by_what_is_written(tmp_path, cpu):
    board = example.write_board(tmp_path, cpu)
    found = host.cpu(board)
    assert found["model"] == cpu.title()
    assert ("asimddp" in found["flags"]) == (cpu == "cortex-a76")
    assert (board / "proc/cpuinfo").read_text().count("processor\t:") == os.cpu_count()
    assert example.write_board(tmp_path, cpu) == board  # again, over what is there
    assert (board / "usr").readlink() == Path("../debian/usr")


def test_a_missing_program_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert example.main(["--folder", str(tmp_path / "cortex")]) == 3
    expected = "emulated_cortex.py: qemu-aarch64: not found; install it: apt-get install qemu-user\n"
    assert capsys.readouterr().err == expected
    (tmp_path / "qemu-aarch64").touch(0o755)
    assert example.main(["--folder", str(tmp_path / "cortex")]) == 3
    assert capsys.readouterr().err == "emulated_cortex.py: apt-get: not found; the host has to be a Debian or Ubuntu\n"
    assert not (tmp_path / "cortex").exists()


def test_a_python_too_old_is_one_line(tmp_path):
    (tmp_path / "usr/bin").mkdir(parents=True)
    for name in ("python3", "python3.9", "python3.8", "python3.9-config"):
        (tmp_path / "usr/bin" / name).touch()
    with pytest.raises(example.SetupError, match=r"python3\.9: the bench needs 3\.10 or newer"):
        example.python_of(tmp_path)
    (tmp_path / "usr/bin/python3.12").touch()
    assert example.python_of(tmp_path) == "python3.12"


@pytest.fixture(scope="module", params=example.CORES)
def machine(request):
    """Set up a processor, and give its name and the command that runs its Python."""
    for name in PROGRAMS:
        if not shutil.which(name):
            pytest.skip(f"no {name} here")
    place = os.environ.get("COMPRESSOR_CORTEX") or request.config.cache.mkdir("cortex")
    try:
        command = example.set_up(Path(place).resolve(), request.param)
    except example.SetupError as error:
        if str(error).startswith("qemu"):  # it is there and does not work
            raise
        pytest.skip(f"cannot be fetched here: {error}")
    return SimpleNamespace(cpu=request.param, command=command)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Write the network of the quick start with random weights, in fp32 and in int8."""
    torch.manual_seed(0)
    source = Source(config=yaml.safe_load(RECIPE.read_text())["model"]["config"], task="image-classification")
    folders = [tmp_path_factory.mktemp(name) for name in ("fp32", "int8")]
    fp32, int8 = (bare_context(each) for each in folders)
    graph = export.run(load_model(source, list("0123456789")), export.Options(stage="export"), fp32)
    return graph.path, quantize.run(graph, quantize.Options(stage="quantize"), int8).path


@pytest.mark.slow
@pytest.mark.xdist_group("emulated")
def test_files_compute_the_same_there_and_nothing_is_timed(machine, exported, capsys):
    place = f"command: {shlex.join(machine.command)} {{script}}"
    assert cli.main(["bench", *map(str, exported), "--on", place, "--batch-size", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    fp32, int8 = found["variants"]
    assert 0 < fp32["output_difference"] <= 1e-5  # other kernels, so hardly the same to the last bit
    assert int8["output_difference"] <= 1e-3
    for variant in found["variants"]:
        assert (variant["bench"], variant["load_ms"], variant["peak_memory_bytes"]) == ([], None, None)
    assert found["environment"]["is_emulated"] is True
    assert found["environment"]["cpu"]["model"] == machine.cpu.title()
    assert ("asimddp" in found["environment"]["cpu"]["flags"]) == (machine.cpu == "cortex-a76")


@pytest.mark.slow
@pytest.mark.xdist_group("emulated")
def test_the_features_written_are_those_that_qemu_has(machine):
    """The kernel interface that tells a program what its processor can do says the same as the file."""
    done = subprocess.run([*machine.command, "-c", AUXILIARY_VECTOR], capture_output=True, text=True, check=True)
    assert int(done.stdout) == sum(1 << HWCAP[name] for name in example.CORES[machine.cpu]["features"].split())
