"""The fuzzer sees every kind of fault, spoils in the same way for the same seed, and finds none in some inputs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLANTED = """
import json, os, signal, sys, time
from pathlib import Path
os.environ["HF_HOME"] = sys.argv[1] + "/cache"
from tests.fuzz import judge
from compressor import cli

bench = judge.Bench(Path(sys.argv[1], "sound"), Path(sys.argv[1], "tries"))
bench.sound.mkdir(); bench.scratch.mkdir()
judge.LIMIT_S, judge.LIMIT_BYTES = 8, 2**29

def main_is(work):
    def spoil(rng):
        cli.main = lambda arguments: work() or 0
        print("{}")
        return ["x"]
    return spoil

def fails(code, line):
    print(line, file=sys.stderr)
    return code

faults = {
    "nothing": lambda: 0,
    "refusal": lambda: fails(3, "compress: a: no such file"),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "bug": lambda: fails(1, "compress: KeyError: a bug of ours"),
    "silence": lambda: fails(3, "something"),
    "traceback": lambda: fails(3, "Traceback (most recent call last):\\ncompress: a: b"),
    "hang": lambda: time.sleep(60),
    "memory": lambda: len(bytes(range(256)) * 2**21),
    "elsewhere": lambda: Path(sys.argv[1], "elsewhere").write_text(""),
    "inputs": lambda: 0 * Path("mine").write_text("changed"),
    "answer": lambda: print("{}"),
}
print(json.dumps({name: judge.attempt(bench, name, main_is(work), 0).faults for name, work in faults.items()}))
"""
SAME = """
from random import Random
from tests.fuzz.mutate import spoiled_bytes, spoiled_json
for seed in range(99):
    print(spoiled_bytes(Random(seed), b"abc" * 9), spoiled_json(Random(seed), '{"a": [1, {"b": "c"}]}'))
"""


def python(*arguments):
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_same_seed_spoils_in_the_same_way():
    assert python("-c", SAME) == python("-c", SAME)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_every_planted_fault_is_seen(tmp_path):
    faults = json.loads(python("-c", PLANTED, str(tmp_path)).splitlines()[-1])
    assert (faults.pop("nothing"), faults.pop("refusal")) == ([], [])
    said = {
        "crash": "exit code -11",
        "bug": "exit code 1: compress: KeyError",
        "silence": "exit code 3 without a reason: something",
        "traceback": "a traceback on stderr",
        "hang": "ran for more than 8 s",
        "memory": "took ",
        "elsewhere": f"open {tmp_path}/elsewhere",
        "inputs": "open ",
        "answer": "no single line of JSON on stdout",
    }
    assert {name: found[0][: len(said[name])] for name, found in faults.items()} == said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_spoiled_inputs_of_every_kind_end_well(tmp_path):
    shown = python("-m", "tests.fuzz", "--inputs", "72", "--seed", "100000", "--keep", str(tmp_path))
    counts = shown.splitlines()[-1].split()
    assert counts[0] == "all"
    assert "failed" in shown
