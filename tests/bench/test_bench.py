"""The bench: what it makes of a plan, how it takes turns, and what it says when it cannot measure."""

import json
import random
import re
import shutil
import subprocess
import sys
import weakref
import zipapp
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bench_files import N_WORDS, image_model, save_graph, text_model, write_plan
from onnx import TensorProto, helper, numpy_helper
from scipy import stats

import compressor.bench
from compressor import cli
from compressor.bench import answers, energy, host, latency, load, measure, metering, sessions
from compressor.bench.__main__ import main
from compressor.bench.errors import InputError, PlanError
from compressor.bench.inputs import SAFE_ID, Inputs, axes_of, read_inputs
from compressor.bench.plan import Plan, read_plan

BENCH = Path(compressor.bench.__path__[0])


def test_a_plan_becomes_one_entry_per_file_shape_and_thread_count(tmp_path, capsys):
    plan = write_plan(tmp_path, threads=[1, 2], batch_sizes=[1, 2])
    assert main([str(plan), str(tmp_path / "bench.json")]) == 0

    written = json.loads((tmp_path / "bench.json").read_text())
    printed = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in printed] == [written]
    assert written["format"] == 1
    assert written["environment"]["cpu"]["model"]
    dense, small = written["variants"]
    assert (dense["accuracy"], small["accuracy"]) == (0.9, 0.8)
    assert dense["size_bytes"] == (tmp_path / "dense.onnx").stat().st_size
    assert dense["load_ms"] > 0
    assert dense["peak_memory_bytes"] > 0
    shapes = [(each["threads"], each["batch_size"], each["length"]) for each in dense["bench"]]
    assert shapes == [(t, b, n) for t in (1, 2) for b in (1, 2) for n in (4, 6)]
    first = dense["bench"][0]
    assert first["n_flops"] == 64
    assert first["p50_ms"] <= first["p90_ms"] <= first["p99_ms"]
    assert first["n_runs"] >= latency.MIN_RUNS * latency.MIN_CYCLES
    assert small["bench"][0]["n_flops"] is None
    assert first["energy"] == energy.unavailable("no meter was asked for")


@pytest.mark.parametrize("as_archive", [False, True])
def test_it_runs_as_a_copied_folder_and_as_an_archive(tmp_path, as_archive):
    """Without compressor on the path, as on a board."""
    program = tmp_path / "board"
    shutil.copytree(BENCH, program, ignore=shutil.ignore_patterns("__pycache__"))
    if as_archive:
        zipapp.create_archive(program, program := tmp_path / "board.pyz")
    command = [sys.executable, "-I", program, write_plan(tmp_path), tmp_path / "out.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout.splitlines()[-1]) == json.loads((tmp_path / "out.json").read_text())


def test_images_have_no_length(tmp_path):
    image_model(tmp_path / "image.onnx")
    variant = {"name": "original fp32", "file": "image.onnx", "n_flops": {"2": 7}}
    plan = Plan([variant], batch_sizes=[2], seconds=0.01, meter="none", folder=tmp_path)
    (entry,) = measure.measure(plan, say=lambda _: None)["variants"][0]["bench"]
    assert (entry["batch_size"], entry["length"], entry["n_flops"]) == (2, None, 7)


def test_a_file_of_fixed_length_is_measured_at_that_length(tmp_path):
    session = sessions.open_session(text_model(tmp_path / "fixed.onnx", length=5), 1)
    assert not axes_of(session).has_free_length({})
    inputs = Inputs().at(session, 3, None)
    assert inputs["input_ids"].shape == (3, 5)


def test_inputs_fit_the_model_and_are_the_same_for_every_file(tmp_path):
    one = sessions.open_session(text_model(tmp_path / "one.onnx"), 1)
    two = sessions.open_session(text_model(tmp_path / "two.onnx"), 1)
    facts = {"input_ids": {"below": N_WORDS}}
    inputs = Inputs(facts, seed=3).at(one, 2, 50)
    assert inputs["input_ids"].shape == (2, 50)
    assert inputs["input_ids"].max() == N_WORDS - 1
    assert inputs["attention_mask"].all()
    assert not inputs["token_type_ids"].any()
    again = Inputs(facts, seed=3).at(two, 2, 50)
    assert all((inputs[name] == again[name]).all() for name in inputs)
    assert Inputs(seed=3).at(one, 2, 50)["input_ids"].max() < SAFE_ID


def test_a_shape_the_file_leaves_open_comes_from_the_plan(tmp_path):
    session = sessions.open_session(image_model(tmp_path / "image.onnx", side="side"), 1)
    with pytest.raises(InputError, match=r"input 'pixel_values': the file leaves axes of 1x3x\?x\? open; give --shape"):
        Inputs().at(session, 1, None)
    facts = {"pixel_values": {"shape": [None, 3, 4, 4]}}
    assert Inputs(facts).at(session, 2, None)["pixel_values"].shape == (2, 3, 4, 4)


def test_inputs_come_from_a_file(tmp_path):
    """Cut to the shape, the same examples first; what is not there, or of another type, is named."""
    session = sessions.open_session(text_model(tmp_path / "model.onnx"), 1)
    ids = np.arange(40).reshape(5, 8) % N_WORDS
    arrays: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    np.savez(tmp_path / "in.npz", **arrays, labels=np.arange(5))
    made = read_inputs({}, str(tmp_path / "in.npz"), seed=0)
    assert made.at(session, 2, 3)["input_ids"].tolist() == ids[:2, :3].tolist()
    assert made.labels is not None
    assert made.labels.tolist() == [0, 1, 2, 3, 4]
    assert [each["input_ids"].tolist() for each in made.examples(session)] == [[row] for row in ids.tolist()]
    with pytest.raises(InputError, match=r"in\.npz: 'input_ids' has the shape \[5, 8\], too small for \[6, 8\]"):
        made.at(session, 6, 8)


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"ids": np.ones((2, 3), np.int64)}, "no array 'input_ids', which the model takes; it has ids"),
        ({"input_ids": np.ones((2, 3), np.float32)}, "'input_ids' should be int64 of 2 axes, got float32 of 2"),
        ({"input_ids": np.ones(2, np.int64)}, "'input_ids' should be int64 of 2 axes, got int64 of 1"),
        ({"input_ids": np.int64(1)}, "'input_ids' should be int64 of 2 axes, got int64 of 0"),
        ({}, "should hold one array for each input"),
        ({"input_ids": np.array([[None]])}, "not a readable .npz file of arrays"),
    ],
)
def test_files_of_inputs_that_do_not_fit(tmp_path, arrays, complaint):
    session = sessions.open_session(text_model(tmp_path / "model.onnx"), 1)
    np.savez(tmp_path / "in.npz", **arrays)
    with pytest.raises(InputError, match=re.escape(complaint)):
        read_inputs({}, str(tmp_path / "in.npz"), seed=0).at(session, 1, 2)


def test_a_file_that_needs_more_memory_than_there_may_be(tmp_path):
    """A matrix of 512 MB that the file computes cannot be had in 300; a corrupt file is still called corrupt."""
    size = numpy_helper.from_array(np.array([128 * 2**20]), "size")
    nodes = [helper.make_node("ConstantOfShape", ["size"], ["zeros"]), helper.make_node("Add", ["x", "zeros"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [size]) for name, size in (("x", 1), ("y", None))]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], [size])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "l.onnx")
    job = {"n_threads": 1, "batch_size": 1, "length": 1, "inputs": {}, "memory_limit_bytes": 300 * 2**20}
    with pytest.raises(InputError, match=r"l\.onnx: does not open and run in 300 MiB of memory, Python incl"):
        load.in_child(tmp_path / "l.onnx", job)
    (tmp_path / "l.onnx").write_bytes(b"no file at all")
    with pytest.raises(InputError, match=r"l\.onnx: onnxruntime cannot open it"):
        load.in_child(tmp_path / "l.onnx", job)


def test_the_size_counts_the_weights_beside_a_file_whatever_their_name(tmp_path):
    for name, size in (("m[1].onnx", 3), ("m[1].onnx.data", 5), ("m[1].onnx.data.bak", 7), ("weights.bin", 11)):
        (tmp_path / name).write_bytes(bytes(size))
    assert load.size_bytes(tmp_path / "m[1].onnx") == 8
    assert load.size_bytes(tmp_path / "m[1].onnx", ["weights.bin"]) == 14
    assert load.size_bytes(tmp_path / "m[1].onnx", []) == 3


def test_peak_memory_is_that_of_the_file_alone(tmp_path):
    """A network of next to no weights takes next to nothing, and each MiB of weights one, or two where it is packed."""
    peaks = {}
    for n_mib in (0, 32):
        weights = np.ones((n_mib * 2**18 // 64 + 1, 64))
        nodes = [helper.make_node("MatMul", ["x", "w"], ["logits"])]
        save_graph(
            tmp_path / "m.onnx",
            nodes,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", len(weights)])],
            w=weights,
        )
        job = {"n_threads": 1, "batch_size": 1, "length": 1, "inputs": {}}
        n_bytes = load.in_child(tmp_path / "m.onnx", job)["peak_memory_bytes"]
        assert n_bytes is not None
        peaks[n_mib] = n_bytes / 2**20
    assert peaks[0] < 4
    assert 32 <= peaks[32] - peaks[0] <= 3 * 32 + 8


def test_sessions_of_one_number_of_threads_are_closed_before_the_next_are_opened(tmp_path, monkeypatch):
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = []
    really = sessions.open_session

    def open_session(*given):
        alive.add(opened := really(*given))
        most.append(len(alive))
        return opened

    monkeypatch.setattr(sessions, "open_session", open_session)
    measure.measure(read_plan(write_plan(tmp_path, threads=[1, 2, 3], lengths=[4])), say=lambda _: None)
    assert max(most) == 2, "two files"


def test_what_is_not_a_number_is_never_a_small_difference():
    one, other = {"a": np.zeros(2), "b": np.array([np.nan])}, {"a": np.ones(2), "b": np.ones(1)}
    assert answers.largest_difference(one, other) is None
    assert answers.largest_difference(other, one) is None
    assert answers.largest_difference({"a": np.zeros(2)}, {"a": np.array([0, -3.0])}) == 3
    assert answers.largest_difference({}, {}) is None
    assert answers.largest_difference({"a": np.zeros((0, 2))}, {"a": np.zeros((0, 2))}) == 0


def test_nothing_is_timed_on_an_emulated_processor(tmp_path):
    for place, program in (("self", "python3"), ("thread-self", "qemu-aarch64")):
        (tmp_path / "root/proc" / place).mkdir(parents=True)
        (tmp_path / "root/proc" / place / "exe").symlink_to(program)
    result = measure.measure(read_plan(write_plan(tmp_path)), say=lambda _: None, root=tmp_path / "root")
    assert result["environment"]["is_emulated"]
    assert not host.is_emulated()
    for variant in result["variants"]:
        assert (variant["bench"], variant["load_ms"], variant["peak_memory_bytes"]) == ([], None, None)
        assert variant["size_bytes"] > 0


def test_the_scenario_is_that_of_mlperf(tmp_path, capsys):
    main([str(write_plan(tmp_path, batch_sizes=[1, 2])), str(tmp_path / "out.json")])
    entries = json.loads((tmp_path / "out.json").read_text())["variants"][0]["bench"]
    assert {(entry["batch_size"], entry["scenario"]) for entry in entries} == {(1, "SingleStream"), (2, "Offline")}


def test_waiting_threads_do_not_spin(tmp_path):
    file = text_model(tmp_path / "model.onnx")
    options = sessions.open_session(file, 2).get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


class SteppingClock:
    """Time that passes only when a run takes it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_blocks_take_turns_in_random_order_and_run_back_to_back():
    clock, order = SteppingClock(), []

    def run(name: str, seconds: float) -> None:
        order.append(name)
        clock.now += seconds

    runs = {"slow": lambda: run("slow", 0.02), "fast": lambda: run("fast", 0.005)}
    tallies = latency.interleave(runs, 4.0, random.Random(0), clock=clock)
    assert tallies["slow"].run_s == pytest.approx([0.02] * len(tallies["slow"].run_s))
    assert sum(tallies["slow"].run_s) == pytest.approx(sum(tallies["fast"].run_s), rel=0.01)

    blocks = [(name, len(list(group))) for name, group in groupby(order)][2:]  # after the warm-up
    assert len(blocks) > latency.N_CYCLES
    lengths = {"slow": 6, "fast": 21}  # 0.1 s of timed runs, and one that is not timed
    assert all(n_runs % lengths[name] == 0 for name, n_runs in blocks)
    assert any(n_runs == 2 * lengths[name] for name, n_runs in blocks), "the order never changed"


def test_summary_counts_in_ms_and_examples():
    tally = latency.Tally(run_s=[0.001 * n for n in range(1, 101)])
    numbers = latency.summary(tally, batch_size=8)
    assert numbers["p50_ms"] == pytest.approx(50.5)
    assert numbers["p99_ms"] == pytest.approx(99.01)
    assert numbers["mean_ms"] == pytest.approx(50.5)
    assert numbers["throughput_per_s"] == pytest.approx(8 * 1000 / 50.5)
    assert numbers["n_runs"] == 100


def test_external_data_counts_as_part_of_the_file(tmp_path):
    file = text_model(tmp_path / "model.onnx")
    (tmp_path / "model.onnx.data").write_bytes(b"x" * 100)
    (tmp_path / "other.onnx.data").write_bytes(b"x" * 100)
    assert load.size_bytes(file) == file.stat().st_size + 100


def test_net_energy_is_what_exceeds_idle():
    windows = [energy.Window(10, 2.0, joules, start_s=0.0, cpu_s=2.0) for joules in (30.0, 32.0, 28.0, 31.0, 29.0)]
    found = energy.measured(windows, idle_w=5.0, meter="rapl", scope="cpu package")
    assert found["kind"] == "measured"
    assert found["gross_j"] == pytest.approx(3.0)
    assert found["net_j"] == pytest.approx(2.0)
    low, high = stats.t.interval(0.95, 4, loc=2.0, scale=stats.sem([2.0, 2.2, 1.8, 2.1, 1.9]))
    assert (found["low"], found["high"]) == (pytest.approx(low, rel=1e-3), pytest.approx(high, rel=1e-3))


class LivingMachine:
    """A fake RAPL tree whose counter moves with every reading."""

    def __init__(self, root: Path, uj_per_reading: int) -> None:
        zone = root / "sys/class/powercap/intel-rapl:0"
        zone.mkdir(parents=True)
        for name, text in (("name", "package-0"), ("max_energy_range_uj", "262143328850"), ("energy_uj", "0")):
            (zone / name).write_text(text)
        self.counter, self.uj_per_reading, self.read_text = zone / "energy_uj", uj_per_reading, Path.read_text

    def __call__(self, path: Path, *given: str, **named: str) -> str:
        text = self.read_text(path, *given, **named)
        if path == self.counter:
            path.write_text(str(int(text) + self.uj_per_reading))
        return text


@pytest.fixture
def short_idle(monkeypatch):
    monkeypatch.setattr(metering, "IDLE_S", 0.2)
    for name in ("SETTLE_S", "SLICE_S", "WINDOW_S", "STEADY_LIMIT_S"):
        monkeypatch.setattr(metering, name, 0.01)
    monkeypatch.setattr(metering, "MIN_UPDATES", 1)


@pytest.mark.usefixtures("short_idle")
def test_a_working_meter_gives_measured_joules(tmp_path, monkeypatch):
    machine = LivingMachine(tmp_path, uj_per_reading=2_000_000)
    monkeypatch.setattr(Path, "read_text", lambda path, *given, **named: machine(path, *given, **named))
    plan = read_plan(write_plan(tmp_path, meter="rapl", lengths=[4]))
    said: list[str] = []
    result = measure.measure(plan, said.append, root=tmp_path)
    assert said[0] == "energy: rapl"
    for variant in result["variants"]:
        found = variant["bench"][0]["energy"]
        assert (found["kind"], found["meter"], found["scope"]) == ("measured", "rapl", "cpu package")
        assert found["gross_j"] > 0
        assert found["low"] <= found["net_j"] <= found["high"]
        assert found["n_windows"] >= energy.MIN_WINDOWS


@pytest.mark.usefixtures("short_idle")
def test_counters_that_stand_still_are_no_joules(tmp_path):
    LivingMachine(tmp_path, uj_per_reading=0)
    found = metering.energies({"file": lambda: None}, "auto", random.Random(0), tmp_path)
    assert found["file"]["kind"] == "unavailable"
    assert "stood still" in found["file"]["reason"]


def test_joules_are_estimated_from_a_profile_where_no_meter_works(tmp_path, capsys):
    """Fitted to a board that draws 3 W while it computes."""
    measured = [
        {
            "name": f"{i}.onnx",
            "size_bytes": i * 1000,
            "bench": [
                {
                    **dict.fromkeys(("batch_size", "length", "threads", "p50_ms", "p90_ms", "p99_ms"), 1),
                    "throughput_per_s": 1.0,
                    "energy": {
                        "kind": "measured",
                        "cpu_s": 1e-5 * i,
                        "net_j": 3e-5 * i,
                        "idle_w": 2.0,
                        "meter": "pmic",
                        "scope": "board",
                    },
                }
            ],
        }
        for i in range(1, 7)
    ]
    host = {"cpu": {"model": "board"}, "versions": {}}
    (tmp_path / "board.json").write_text(json.dumps({"format": 1, "environment": host, "variants": measured}))
    profile = tmp_path / "board.yaml"
    assert cli.main(["calibrate-energy", str(tmp_path / "board.json"), "--out", str(profile), "--json"]) == 0
    fitted = json.loads(capsys.readouterr().out)
    plan = read_plan(write_plan(tmp_path, meter="none", lengths=[4], energy_model=str(profile)))
    for variant in measure.measure(plan, lambda _: None)["variants"]:
        entry = variant["bench"][0]
        expected = fitted["active_w"] * entry["cpu_ms"] * 1e-3 + fitted["joules_per_byte"] * variant["size_bytes"]
        assert entry["energy"]["kind"] == "estimated"
        assert entry["energy"]["net_j"] == pytest.approx(expected)
        assert any("the profile was taken on board" in warning for warning in entry["energy"]["warnings"])
    assert cli.main(["calibrate-energy", str(profile), "--out", str(profile)]) == 3
    assert "board.yaml: not a readable JSON file" in capsys.readouterr().err


def test_few_windows_give_no_interval():
    with pytest.raises(ValueError, match="needs 5 windows, got 4"):
        energy.measured([energy.Window(1, 1.0, 1.0, 0.0, 1.0)] * 4, 0.0, "rapl", "cpu package")


@pytest.mark.parametrize("n_free", [4, 5, 9, 30, 1000])
def test_student_t_without_scipy(n_free):
    assert energy.student_t(n_free) == pytest.approx(stats.t.ppf(0.975, n_free), rel=3e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "not a bench plan of format 1"),
        ({"lenghts": [3]}, "unknown key 'lenghts'"),
        ({"variants": []}, "'variants' should be a list of files"),
        ({"variants": [{"name": "a"}]}, "each variant needs a 'file' and a 'name' of its own"),
        (
            {"variants": [{"name": "a", "file": "dense.onnx"}] * 2},
            "each variant needs a 'file' and a 'name' of its own",
        ),
        ({"threads": [0]}, r"'threads' should be a list of numbers, each at least 1, got \[0\]"),
        ({"seconds": -1}, "'seconds' should be above 0, got -1"),
    ],
)
def test_a_wrong_plan_is_refused(tmp_path, changes, message):
    with pytest.raises(PlanError, match=message):
        read_plan(write_plan(tmp_path, **changes))


def test_a_plan_that_is_not_json_is_refused(tmp_path):
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(PlanError, match=r"plan\.json: not a readable JSON file"):
        read_plan(tmp_path / "plan.json")


def _one_line(capsys: pytest.CaptureFixture[str], plan: Path) -> tuple[int, str]:
    code = main([str(plan), str(plan.with_name("out.json"))])
    printed = capsys.readouterr()
    assert not printed.out
    assert not plan.with_name("out.json").exists()
    return code, printed.err.splitlines()[-1]


def test_a_missing_file_is_named_before_anything_runs(tmp_path, capsys):
    plan = write_plan(tmp_path)
    (tmp_path / "small.onnx").unlink()
    code, line = _one_line(capsys, plan)
    assert code == 3
    assert line == f"bench: {tmp_path / 'small.onnx'}: no such file"


def test_a_damaged_file_is_named(tmp_path, capsys):
    plan = write_plan(tmp_path)
    (tmp_path / "small.onnx").write_bytes(b"not a model")
    code, line = _one_line(capsys, plan)
    assert code == 3
    assert line.startswith(f"bench: {tmp_path / 'small.onnx'}: onnxruntime cannot open it: ")


def test_inputs_that_do_not_fit_are_shown(tmp_path, capsys):
    code, line = _one_line(capsys, write_plan(tmp_path, inputs={"input_ids": {"below": 10_000}}))
    assert code == 3
    assert "onnxruntime cannot run it with input_ids [1, 6], attention_mask [1, 6]" in line


def test_files_with_and_without_a_length_are_not_mixed(tmp_path):
    text_model(tmp_path / "text.onnx")
    image_model(tmp_path / "image.onnx")
    variants = [{"name": name, "file": f"{name}.onnx"} for name in ("text", "image")]
    with pytest.raises(PlanError, match="some have a free length and some have not"):
        measure.measure(Plan(variants, seconds=0.01, meter="none", folder=tmp_path), say=lambda _: None)


def test_a_result_that_cannot_be_written_is_one_line(tmp_path, capsys):
    assert main([str(write_plan(tmp_path)), str(tmp_path / "no" / "out.json")]) == 3
    assert capsys.readouterr().err.splitlines()[-1].endswith("out.json: cannot be written: No such file or directory")


def test_an_arm_board_names_itself(tmp_path):
    (tmp_path / "proc" / "device-tree").mkdir(parents=True)
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd asimddp\n")
    (tmp_path / "proc/device-tree/model").write_text("Raspberry Pi 5 Model B\0")
    assert host.cpu(tmp_path) == {"model": "Raspberry Pi 5 Model B", "flags": ["asimd", "asimddp", "fp"]}
    assert host.governor(tmp_path) is None


def test_the_bench_imports_nothing_but_numpy_and_onnxruntime(tmp_path):
    code = (
        "import sys, sysconfig, compressor.bench.__main__\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "print(roots & {'torch', 'transformers', 'pydantic', 'onnx', 'scipy', 'click', 'jinja2'})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
