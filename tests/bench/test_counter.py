"""Instruction counts: how dumps are read, what is said where nothing can be counted, and real counts by valgrind."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_files import image_model, save_graph, write_plan
from onnx import TensorProto, helper

from compressor.bench import counter, host
from compressor.bench.__main__ import main
from compressor.bench.errors import InputError

INPUTS: dict[str, Any] = {"inputs": {}, "inputs_file": None, "seed": 0}
N_WIDE = 512


@pytest.fixture
def valgrind(tmp_path, monkeypatch):
    """Put a program of our own in the place of valgrind, and nothing else on the path."""

    def put(*lines):
        program = tmp_path / "bin" / "valgrind"
        program.parent.mkdir()
        program.write_text("\n".join([f"#!{sys.executable}", "import os, sys", *lines]))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent))

    return put


def dumps(folder, counts):
    """Write what callgrind writes: one file for each mark, and one more at the end of the process."""
    for index, count in enumerate(counts, start=1):
        text = f"version: 1\npart: {index}\nevents: Ir\nfn=(1) run\n0 {count}\n\ntotals: {count}\n"
        (folder / f"out.{index}").write_text(text)
    return folder / "out"


def test_the_dumps_are_read_in_the_order_of_their_marks(tmp_path):
    counts = [1000 + n for n in range(12)]
    assert counter.totals(dumps(tmp_path, counts)) == counts


def test_only_what_lies_between_two_marks_is_an_inference():
    """Before the first mark are start-up and warm-ups, after the last one the end; the least of the rest counts."""
    before, inferences, end = 10**9, [105, 103, 101, 104, 102], 1
    assert counter.least([before, *inferences, end], Path("a.onnx")) == 101


def test_marks_that_are_missing_are_no_count():
    with pytest.raises(InputError, match=r"^a\.onnx: valgrind saw 5 of 6 marks; leave out --counter$"):
        counter.least([9] * 5, Path("a.onnx"))


def test_without_valgrind_nothing_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([str(write_plan(tmp_path, counter="callgrind")), str(tmp_path / "bench.json")]) == 3
    line = "bench: --counter callgrind: valgrind is not installed; apt-get install valgrind"
    assert capsys.readouterr().err.splitlines() == [line]


def test_a_counter_that_nobody_knows(tmp_path, capsys):
    assert main([str(write_plan(tmp_path, counter="perf")), str(tmp_path / "bench.json")]) == 2
    assert capsys.readouterr().err.endswith("plan.json: 'counter' should be 'callgrind' or null, got 'perf'\n")


def test_the_last_line_of_valgrind_says_why_it_failed(tmp_path, valgrind):
    valgrind("print('==7== first\\n==7== unhandled instruction', file=sys.stderr)", "sys.exit(4)")
    file = image_model(tmp_path / "a.onnx")
    with pytest.raises(
        InputError, match=r"a\.onnx: valgrind ended with 4: unhandled instruction; leave out --counter$"
    ):
        counter.count(file, "a", [(1, None)], lambda line: None, **INPUTS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"a\.onnx: valgrind saw 0 of 6 marks; leave out --counter$"),
        (b"not a model", r"a\.onnx: onnxruntime cannot open it: "),
    ],
)
def test_the_bench_is_the_process_that_is_counted(tmp_path, valgrind, content, message):
    """Through the program itself, with a valgrind that only runs it."""
    valgrind("rest = [a for a in sys.argv[1:] if not a.startswith('-') or a == '--count']", "os.execv(rest[0], rest)")
    file = image_model(tmp_path / "a.onnx")
    if content:
        file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        counter.count(file, "a", [(1, None)], lambda line: None, **INPUTS)


def test_counts_are_in_every_entry_of_the_bench(tmp_path, monkeypatch):
    """Also at other thread counts: what is counted is an inference on one thread."""
    asked = []

    def count(file, name, sizes, say, **inputs):
        asked.append((file.name, name, list(sizes), inputs))
        return {size: 1000 * size[0] + size[1] for size in sizes}

    monkeypatch.setattr(counter, "count", count)
    monkeypatch.setattr(counter, "find_valgrind", lambda: "valgrind")
    for key in ("callgrind", None):
        plan = write_plan(tmp_path, counter=key, threads=[1, 2], batch_sizes=[1, 2])
        assert main([str(plan), str(tmp_path / f"{key}.json")]) == 0
    counted, without = (json.loads((tmp_path / f"{key}.json").read_text()) for key in ("callgrind", None))
    sizes = [(1, 4), (1, 6), (2, 4), (2, 6)]
    assert asked == [
        ("dense.onnx", "original fp32", sizes, INPUTS),
        ("small.onnx", "compressed fp32", sizes, INPUTS),
    ]
    assert [each["n_instructions"] for each in counted["variants"][1]["bench"]] == 2 * [1004, 1006, 2004, 2006]
    assert {each["n_instructions"] for each in without["variants"][1]["bench"]} == {None}


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc here")
def test_onnxruntime_keeps_no_thread_of_its_own_in_the_bench():
    """1.31 has one for telemetry: it looks for a server, and is counted and timed with us."""
    env = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    code = "import os, compressor.bench.__main__; print(len(os.listdir('/proc/self/task')))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env | {"OPENBLAS_NUM_THREADS": "1"}, capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1


needs_valgrind = pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")


def dense_model(path, n_hidden):
    """A wide product and a narrow one."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["features", "first"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "second"], ["logits"]),
    ]
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", N_WIDE])
    first, second = rng.standard_normal((N_WIDE, n_hidden)), rng.standard_normal((n_hidden, 2))
    save_graph(path, nodes, [features], first=first, second=second)
    return path


@pytest.fixture(scope="module")
def count(tmp_path_factory):
    """Count at a batch size through valgrind: some 20 seconds, most of them for opening Python and onnxruntime."""
    folder = tmp_path_factory.mktemp("counted")

    def count(batch_size, n_hidden=N_WIDE):
        file = dense_model(folder / f"{n_hidden}.onnx", n_hidden)
        return counter.count(file, "a", [(batch_size, None)], lambda line: None, **INPUTS)[batch_size, None]

    return count


@pytest.fixture(scope="module")
def counts(count):
    """At batches that fill the kernels' blocks of rows alike."""
    return {batch_size: count(batch_size) for batch_size in (24, 48, 96)}


@pytest.mark.slow
@pytest.mark.xdist_group("valgrind")
@needs_valgrind
class TestReally:
    def test_the_count_grows_as_the_work_does(self, counts):
        """What is left when the work is taken out, is the way through Python and onnxruntime."""
        per_row = (counts[96] - counts[48]) / 48
        assert (counts[48] - counts[24]) / 24 == pytest.approx(per_row, rel=0.01)
        assert 0 < counts[24] - 24 * per_row < 200_000

    @pytest.mark.skipif("avx2" not in host.cpu()["flags"], reason="a kernel of another width")
    def test_it_is_one_inference_that_is_counted(self, counts):
        """An AVX2 kernel multiplies and adds eight numbers at a time: two inferences would take at least two steps."""
        n_steps = N_WIDE * N_WIDE / 8
        assert 1 < (counts[96] - counts[48]) / 48 / n_steps < 2

    def test_it_is_the_same_again(self, counts, count, monkeypatch):
        """Also with a longer environment, in which the stack begins elsewhere; the allocator differs a little."""
        monkeypatch.setenv("PATH", os.environ["PATH"] + ":/" + 1000 * "x")
        assert count(24) == pytest.approx(counts[24], abs=3_000)

    def test_a_wider_layer_takes_more(self, counts, count):
        assert count(24, n_hidden=N_WIDE + 16) > 1.02 * counts[24]
