"""The bench beside other programs: wall times that say nothing are found by processor time, and measured again."""

import multiprocessing
import time

import numpy as np
import pytest
from bench_files import save_graph
from onnx import TensorProto, helper

from compressor.bench import measure, sharing
from compressor.bench.plan import Plan
from compressor.report import speed


def times(p50_ms, mean_ms, cpu_ms):
    return {"p50_ms": p50_ms, "mean_ms": mean_ms, "cpu_ms": cpu_ms}


@pytest.mark.parametrize(
    ("measured", "n_threads", "expected"),
    [
        (times(1.0, 1.1, 1.0), 1, False),
        (times(1.0, 1.16, 1.0), 1, True),
        (times(3.8, 3.9, 1.0), 1, True),
        (times(0.9, 4.35, 1.0), 1, True),  # short enough to fit between two switches: only the mean shows it
        (times(1.0, 1.0, 1.5), 1, False),
        (times(1.0, 1.0, 3.9), 4, None),
        (times(1.0, None, None), 1, None),
        (times(1.0, 1.0, 0.0), 1, None),
    ],
)
def test_wall_and_processor_time_that_part_by_more_than_15_percent(measured, n_threads, expected):
    assert sharing.is_shared(measured, n_threads) is expected


@pytest.mark.parametrize(
    ("tries", "expected", "n_used"),
    [([1.0, 9.0], 1.0, 1), ([4.0, 1.1], 1.1, 2), ([4.0, 2.0], 2.0, 2), ([2.0, 4.0], 2.0, 2)],
)
def test_what_others_disturbed_is_measured_again_and_the_best_try_is_kept(tries, expected, n_used):
    """A try is here the wall time over processor time of the second of two files."""
    left = iter(tries)
    said: list[str] = []
    found = sharing.undisturbed(
        lambda: next(left), lambda wall: {"a": times(1, 1, 1), "b": times(wall, wall, 1)}, said.append
    )
    assert (found, len(tries) - len(list(left)), len(said)) == (expected, n_used, n_used - 1)


def busy(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.fixture
def two_busy_processes():
    """Keep every core busy twice over, and for half a minute at most."""
    context = multiprocessing.get_context("spawn")
    n_processes = max(2, 2 * (multiprocessing.cpu_count() or 1))
    others = [context.Process(target=busy, args=(30,), daemon=True) for _ in range(n_processes)]
    for each in others:
        each.start()
    yield
    for each in others:
        each.terminate()
        each.join()


@pytest.mark.slow
def test_beside_busy_processes_the_rule_is_applied_to_what_was_measured(tmp_path, two_busy_processes):
    """No time is judged here, only that each entry says what its own numbers mean, and the report follows it."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 512])]
    for name, width in (("small", 8), ("large", 8000)):
        nodes = [helper.make_node("MatMul", ["x", "a"], ["y"]), helper.make_node("MatMul", ["y", "b"], ["logits"])]
        arrays = {"a": np.ones((512, width)), "b": np.ones((width, 2))}
        save_graph(tmp_path / f"{name}.onnx", nodes, inputs, **arrays)
    variants = [{"name": name, "file": f"{name}.onnx"} for name in ("small", "large")]
    said: list[str] = []
    plan = Plan(variants, lengths=[1], batch_sizes=[8], seconds=1, meter="none", folder=tmp_path)
    found = measure.measure(plan, said.append)["variants"]
    entries = [variant["bench"][0] for variant in found]
    for entry in entries:
        wall_ms = max(entry["p50_ms"], entry["mean_ms"] or 0.0)
        assert entry["is_shared"] == (wall_ms > 1.15 * entry["cpu_ms"])
        assert len(entry["block_p50_ms"]) == len(entry["block_cpu_ms"]) >= 5
    is_shared = any(entry["is_shared"] for entry in entries)
    assert speed.is_shared(found) == is_shared
    assert speed.clock(found).is_wall != is_shared
    assert not is_shared or any("measuring again" in line for line in said)
    factor = speed.clock(found).factor(*entries)
    expected = entries[0]["cpu_ms"] / entries[1]["cpu_ms"] if is_shared else entries[0]["p50_ms"] / entries[1]["p50_ms"]
    assert factor in (1, pytest.approx(expected))
