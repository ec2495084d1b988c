"""The gate of the bench: error rates by simulation, fresh sessions, and what it says of files that do not fit.

No test here depends on how long anything takes: times are simulated, or only their presence is looked at.
"""

import json
import math
import random
from itertools import count
from typing import Any

import numpy as np
import onnx
import pytest
from bench_files import N_WORDS, image_model, save_graph, text_model
from onnx import TensorProto, helper, numpy_helper
from scipy import stats

from compressor.bench import accuracy, answers, counter, decision, gate, host, pairs, sessions
from compressor.bench.__main__ import main
from compressor.bench.decision import Block, Interval
from compressor.bench.errors import InputError, PlanError
from compressor.bench.inputs import Inputs
from compressor.bench.shape import Shape
from compressor.bench.student_t import quantile

SHAPES = ("1x32", "1x128")
N_GATES = 400


@pytest.mark.parametrize("n_free", [1, 2, 3, 4, 9, 10, 30, 301])
@pytest.mark.parametrize("probability", [0.01, 0.5, 0.975, 0.995, 0.99833])
def test_quantiles_are_those_of_scipy(probability, n_free):
    expected = stats.t.ppf(probability, n_free)
    assert quantile(probability, n_free) == pytest.approx(expected, rel=1e-8, abs=1e-12)


def test_the_interval_is_students():
    log_ratios = [0.01, 0.03, 0.02, 0.05]
    low, high = stats.t.interval(0.99, 3, loc=np.mean(log_ratios), scale=stats.sem(log_ratios))
    found = decision.interval(log_ratios, alpha=0.005)
    assert found.ratio == pytest.approx(math.expm1(np.mean(log_ratios)))
    assert (found.low, found.high) == (pytest.approx(math.expm1(low)), pytest.approx(math.expm1(high)))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.021, 0.06, "regression"),
        (0.01, 0.06, "inconclusive"),
        (-0.01, 0.021, "inconclusive"),
        (-0.01, 0.019, "pass"),
        (0.001, 0.019, "pass"),
        (-0.1, -0.001, "improved"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side_of_the_margin(low, high, expected):
    assert decision.verdict(Interval((low + high) / 2, low, high), margin=0.02) == expected


def test_the_worst_verdict_decides():
    assert decision.worst(["pass", "regression", "improved"]) == "regression"
    assert decision.worst(["pass", "inconclusive"]) == "inconclusive"
    assert decision.worst(["improved", "pass"]) == "pass"
    assert decision.worst(["improved", "improved"]) == "improved"


@pytest.mark.parametrize(
    ("budget_s", "times"), [(3, [3]), (10, [10]), (30, [10, 30]), (60, [10, 30, 60]), (45, [10, 30, 45])]
)
def test_the_last_look_spends_the_budget(budget_s, times):
    assert decision.looks(budget_s) == times


class Machine:
    """Files whose blocks are drawn, on a clock that only blocks move."""

    def __init__(self, seed: int, slowdown: float, session_sd: float = 0.0125, block_s: float = 0.6) -> None:
        self.rng, self.now = np.random.default_rng(seed), 0.0
        self.asked: list[Any] = []
        self.slowdown, self.session_sd, self.block_s = slowdown, session_sd, block_s

    def clock(self) -> float:
        return self.now

    def measure(self, shapes):
        """Add to the true ratio where the sessions happen to lie, and now and then a slow spell of the host."""
        self.now += self.block_s
        self.asked.append(tuple(shapes))
        spell = self.rng.standard_t(5, len(shapes)) * self.session_sd * math.sqrt(3 / 5)
        return {
            shape: Block(math.log1p(self.slowdown) + noise, 0.011, 0.01)
            for shape, noise in zip(shapes, spell, strict=True)
        }


def decided(seed, slowdown, *, budget_s=10.0, margin=0.02, machine=Machine, **settings):
    simulated = machine(seed, slowdown, **settings)
    decisions = decision.decide(simulated.measure, SHAPES, margin, budget_s, simulated.clock)
    return decision.worst(each.verdict for each in decisions.values()), simulated


def rate(expected, slowdown, **options):
    return sum(decided(seed, slowdown, **options)[0] == expected for seed in range(N_GATES)) / N_GATES


@pytest.mark.parametrize("budget_s", [10.0, 60.0])
def test_false_alarms_stay_below_one_percent_even_at_the_margin(budget_s):
    """At the margin itself every alarm is false; the bound holds over both shapes and all looks."""
    n_alarms = rate("regression", 0.02, budget_s=budget_s) * N_GATES
    assert stats.binomtest(round(n_alarms), N_GATES, decision.ALPHA, alternative="greater").pvalue > 0.01


class TwoStates(Machine):
    """Sessions of one file lie well or badly, with equal chances, and hardly scatter otherwise."""

    def measure(self, shapes):
        self.now += self.block_s
        self.asked.append(tuple(shapes))
        states = self.rng.choice([-1, 1], len(shapes)) + self.rng.normal(0, 0.1, len(shapes))
        return {
            shape: Block(math.log1p(self.slowdown) + self.session_sd * state, 0.011, 0.01)
            for shape, state in zip(shapes, states, strict=True)
        }


def test_so_few_blocks_that_all_may_lie_on_one_side_by_chance_are_no_answer():
    """At the margin, all of five blocks are in the bad state once in 32 times, and t takes that for a sure slowdown."""

    def n_alarms(n_blocks):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decision, "MIN_BLOCKS", n_blocks)
            found = (decided(seed, 0.02, machine=TwoStates, block_s=20.0)[0] for seed in range(N_GATES))
            return sum(each == "regression" for each in found)

    alarms = {n: stats.binomtest(n_alarms(n), N_GATES, decision.ALPHA, alternative="greater").pvalue for n in (5, 8)}
    assert decision.MIN_BLOCKS == 8
    assert alarms[5] < 1e-6
    assert alarms[8] > 0.01


def test_a_file_against_itself_gives_no_alarm():
    assert rate("regression", 0.0) == 0


def test_slower_files_are_caught_and_much_slower_ones_at_once():
    assert rate("regression", 0.05) > 0.95
    assert rate("regression", 0.10) == 1
    verdict_found, machine = decided(0, 0.10, budget_s=60.0)
    assert verdict_found == "regression"
    assert 10 <= machine.now < 11, "a clear answer ends the measuring at the first look"


def test_what_a_short_budget_leaves_open_a_longer_one_decides():
    noisy = {"slowdown": 0.0, "session_sd": 0.05}
    assert rate("inconclusive", **noisy) > 0.9
    assert rate("inconclusive", **noisy, budget_s=60.0) < 0.5


def test_a_shape_that_is_decided_is_measured_no_more():
    machine = Machine(0, 0.0)

    def measure(shapes):
        noise = {"1x32": 0.0001, "1x128": 0.2}
        machine.now += 0.6
        machine.asked.append(tuple(shapes))
        return {shape: Block(machine.rng.normal(0, noise[shape]), 0.01, 0.01) for shape in shapes}

    found = decision.decide(measure, SHAPES, 0.02, 30.0, machine.clock)
    assert (found["1x32"].verdict, found["1x128"].verdict) == ("pass", "inconclusive")
    assert set(machine.asked) == {SHAPES, ("1x128",)}
    assert len(found["1x32"].blocks) < len(found["1x128"].blocks)


def test_a_slow_network_gets_its_blocks_beyond_the_budget():
    _, machine = decided(0, 0.0, block_s=20.0)
    assert len(machine.asked) == decision.MIN_BLOCKS


def test_a_block_takes_the_median_of_pairs_in_random_order():
    now, order, times = 0.0, [], {"new": 0.0011, "baseline": 0.001}
    outliers = count()

    def run(role):
        def work():
            nonlocal now
            order.append(role)
            now += times[role] * (100 if next(outliers) % 7 == 0 else 1)

        return work

    block = pairs.block({role: run(role) for role in pairs.ROLES}, lambda: now, random.Random(0))
    assert block.log_ratio == pytest.approx(math.log(1.1))
    assert (block.new_s, block.baseline_s) == (pytest.approx(0.0011), pytest.approx(0.001))
    timed = order[2 * pairs.N_WARM_UPS :]
    taken = [set(timed[i : i + 2]) for i in range(0, len(timed), 2)]
    assert taken == [set(pairs.ROLES)] * pairs.N_PAIRS, "each pair has one run of each"
    assert set(timed[::2]) == set(pairs.ROLES), "the order never changed"


def test_a_clock_that_stands_still_gives_a_ratio_of_one():
    runs = dict.fromkeys(pairs.ROLES, lambda: None)
    assert pairs.block(runs, lambda: 0.0, random.Random(0)).log_ratio == 0


def test_every_block_opens_both_files_anew_also_when_they_are_one(tmp_path, monkeypatch):
    file, opened = text_model(tmp_path / "model.onnx"), []
    inputs = {
        shape: Inputs().at(sessions.open_session(file, 1), shape.batch_size, shape.length)
        for shape in (Shape(1, 4, 1), Shape(1, 8, 1), Shape(1, 4, 2))
    }
    really = sessions.open_session

    def open_session(*given):
        opened.append(given)
        return really(*given)

    monkeypatch.setattr(sessions, "open_session", open_session)
    files = dict.fromkeys(pairs.ROLES, file)
    for _ in range(2):
        feeds = {shape: dict.fromkeys(pairs.ROLES, arrays) for shape, arrays in inputs.items()}
        found = pairs.fresh(list(inputs), files, feeds, random.Random(0))
        assert found.keys() == inputs.keys()
    assert opened == 2 * [(file, 1), (file, 1), (file, 2), (file, 2)]


@pytest.fixture
def plan_file(tmp_path, monkeypatch):
    """A plan over two equal files; blocks are drawn, so that nothing hangs on the host."""
    blocks, rng = {"new": 0.01, "baseline": 0.01}, np.random.default_rng(0)

    def drawn(shapes, **_):
        log_ratio = math.log(blocks["new"] / blocks["baseline"]) + rng.normal(0, 1e-4)
        return dict.fromkeys(shapes, Block(log_ratio, blocks["new"], blocks["baseline"]))

    monkeypatch.setattr(pairs, "fresh", drawn)
    for name in ("new.onnx", "old.onnx"):
        text_model(tmp_path / name)

    def write(new_s=0.01, **changes):
        blocks["new"] = new_s
        plan = {"format": 1, "new": "new.onnx", "baseline": "old.onnx", "budget_s": 0.01, "lengths": [4, 6]}
        (tmp_path / "plan.json").write_text(json.dumps(plan | changes))
        return tmp_path / "plan.json"

    return write


@pytest.mark.parametrize(("new_s", "expected"), [(0.01, "pass"), (0.0125, "regression"), (0.008, "improved")])
def test_a_plan_becomes_a_verdict(plan_file, tmp_path, capsys, new_s, expected):
    assert main(["--gate", str(plan_file(new_s, batch_sizes=[1, 2])), str(tmp_path / "gate.json")]) == 0
    found = json.loads((tmp_path / "gate.json").read_text())
    assert json.loads(capsys.readouterr().out) == found
    assert found["verdict"] == expected
    assert [(each["batch_size"], each["length"], each["threads"]) for each in found["shapes"]] == [
        (1, 4, 1), (1, 6, 1), (2, 4, 1), (2, 6, 1),
    ]  # fmt: skip
    for entry in found["shapes"]:
        assert entry["low"] <= entry["ratio"] <= entry["high"]
        assert entry["ratio"] == pytest.approx(new_s / 0.01 - 1, abs=1e-3)
        assert entry["verdict"] == expected
        assert (entry["new_cpu_ms"], entry["baseline_cpu_ms"]) == (pytest.approx(1e3 * new_s), pytest.approx(10))
        assert entry["n_blocks"] >= decision.MIN_BLOCKS
        assert entry["output_difference"] == 0
    assert found["peak_memory_bytes"].keys() == {"new", "baseline"}


def test_real_sessions_give_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(decision, "MIN_BLOCKS", 2)
    image_model(tmp_path / "image.onnx")
    plan = gate.GatePlan("image.onnx", "image.onnx", budget_s=0.01, folder=tmp_path)
    said: list[str] = []
    [entry] = gate.gate(plan, said.append)["shapes"]
    assert (entry["batch_size"], entry["length"]) == (1, None)
    assert entry["new_cpu_ms"] > 0
    assert said == ["measuring for 0.01 s at most, or until there are 8 blocks"]


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ({"logits": np.array([1.0, 2.5], np.float32)}, 0.5),
        ({"logits": np.array([1.0, np.nan], np.float32)}, None),
        ({"logits": np.array([[1.0, 2.0]], np.float32)}, None),
        ({"scores": np.array([1.0, 2.0], np.float32)}, None),
        ({"logits": np.array([1.0, 2.0], np.float32), "label": ["a"]}, 0.0),
    ],
)
def test_outputs_are_compared_number_by_number(new, expected):
    baseline = {"logits": np.array([1.0, 2.0], np.float32)}
    assert answers.largest_difference(answers.numbers(new), answers.numbers(baseline)) == expected


def real_inputs(folder, **changes):
    """Eight texts and their classes as the network sees them, but for the last two, which are wrong on purpose."""
    rng = np.random.default_rng(0)
    words, head = rng.standard_normal((N_WORDS, 4)), rng.standard_normal((4, 2))
    ids = np.random.default_rng(1).integers(0, N_WORDS, (8, 6))
    right = (words[ids].max(axis=1) @ head).argmax(axis=1)
    labels = np.where(np.arange(8) < 6, right, 1 - right)
    arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    np.savez(folder / "in.npz", **{**arrays, "labels": labels, **changes})
    return words[ids].max(axis=1), head


def negated(path):
    """Turn the answers of a file around: what was right is wrong now."""
    proto = onnx.load(path)
    (head,) = (each for each in proto.graph.initializer if each.name == "head")
    head.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(head), "head"))
    onnx.save(proto, path)


def test_accuracies_and_differences_are_those_of_the_inputs_given(plan_file, tmp_path, capsys):
    """Worked out in numpy, from the weights; the file answers the first examples only, cut to the length."""
    pooled, head = real_inputs(tmp_path)
    negated(tmp_path / "new.onnx")
    plan = plan_file(inputs_file="in.npz", lengths=[6], batch_sizes=[1, 3])
    assert main(["--gate", str(plan), str(tmp_path / "gate.json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["accuracy"], found["n_examples"]) == ({"new": 0.25, "baseline": 0.75}, 8)
    logits = pooled @ head
    for entry in found["shapes"]:
        largest = np.abs(2 * logits[: entry["batch_size"]]).max()
        assert entry["output_difference"] == pytest.approx(largest, rel=1e-5)


def test_without_labels_there_is_no_accuracy(plan_file, tmp_path, capsys):
    assert main(["--gate", str(plan_file()), str(tmp_path / "gate.json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["accuracy"], found["n_examples"], found["n_instructions"]) == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"labels": np.zeros(7, np.int64)}, "every array should have as many examples"),
        ({"labels": np.zeros(8)}, "'labels' should be one class index for each example, got float64 of shape [8]"),
        ({"labels": np.zeros((8, 1), np.int64)}, "'labels' should be one class index for each example, got int64"),
        ({"labels": np.arange(1, 9)}, "'labels' should be from 0 to 1, as {new} answers, got 8"),
        ({"labels": np.full(8, -1)}, "'labels' should be from 0 to 1, as {new} answers, got -1"),
        ({"input_ids": np.zeros((8, 3), np.int64)}, "'input_ids' has the shape [8, 3], too small for [1, 4]"),
        ({"input_ids": np.zeros((8, 6))}, "'input_ids' should be int64 of 2 axes, got float64 of 2"),
    ],
)
def test_inputs_of_a_file_that_do_not_fit_are_one_line(plan_file, tmp_path, capsys, changes, complaint):
    real_inputs(tmp_path, **changes)
    assert main(["--gate", str(plan_file(inputs_file="in.npz")), str(tmp_path / "gate.json")]) == 3
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bench: {tmp_path / 'in.npz'}: {complaint.format(new=tmp_path / 'new.onnx')}")


def test_arrays_of_other_names_and_files_that_hold_none(plan_file, tmp_path, capsys):
    np.savez(tmp_path / "in.npz", ids=np.zeros((8, 6), np.int64))
    np.save(tmp_path / "bare.npy", np.zeros(3))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "in.npz").read_bytes()[:200])
    complaints = {
        "in.npz": "no array 'input_ids', which the model takes; it has ids",
        "bare.npy": "not a readable .npz file of arrays: it is one array; use np.savez(name=...)",
        "cut.npz": "not a readable .npz file of arrays",
        "no.npz": "not a readable .npz file of arrays: no such file",
    }
    for name, complaint in complaints.items():
        assert main(["--gate", str(plan_file(inputs_file=name)), str(tmp_path / "gate.json")]) == 3
        assert capsys.readouterr().err == f"bench: {tmp_path / name}: {complaint}\n"


def test_scores_that_are_no_numbers_have_no_accuracy(tmp_path):
    nodes = [helper.make_node("Log", ["features"], ["logits"])]
    save_graph(tmp_path / "a.onnx", nodes, [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 2])])
    features = np.array([[-1, -1], [2, 1], [-1, 2], [1, 2]], np.float32)  # log gives nan below zero
    inputs = Inputs(place="in.npz", arrays={"features": features}, labels=np.array([0, 0, 0, 1]))
    assert accuracy.accuracy(tmp_path / "a.onnx", inputs) == (None, 2)


def test_an_emulated_processor_decides_nothing(plan_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(host, "is_emulated", lambda root: True)
    assert main(["--gate", str(plan_file()), str(tmp_path / "gate.json")]) == 3
    assert capsys.readouterr().err.startswith("bench: this processor is emulated: ")
    assert not (tmp_path / "gate.json").exists()


def test_no_output_of_scores_is_no_accuracy(tmp_path):
    nodes = [helper.make_node("ReduceMax", ["features"], ["logits"], keepdims=0)]
    save_graph(tmp_path / "a.onnx", nodes, [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 3])])
    inputs = Inputs(place="in.npz", arrays={"features": np.ones((2, 3), np.float32)}, labels=np.array([0, 1]))
    with pytest.raises(InputError, match=r"a\.onnx: no output holds scores of shape \(examples, classes\)"):
        accuracy.accuracy(tmp_path / "a.onnx", inputs)


def test_instructions_are_counted_once_for_each_size(plan_file, tmp_path, capsys, monkeypatch):
    """Not for each number of threads; both files again, with the same inputs."""
    asked = []

    def count(file, name, sizes, say, **inputs):
        asked.append((file.name, name, sizes, inputs))
        return {size: 1000 * size[1] + len(asked) for size in sizes}

    monkeypatch.setattr(counter, "count", count)
    monkeypatch.setattr(counter, "find_valgrind", lambda: "valgrind")
    real_inputs(tmp_path)
    plan = plan_file(counter="callgrind", threads=[1, 2], inputs_file="in.npz")
    assert main(["--gate", str(plan), str(tmp_path / "gate.json")]) == 0
    given = {"inputs": {}, "inputs_file": str(tmp_path / "in.npz"), "seed": 0}
    assert asked == [
        (f"{file}.onnx", role, [(1, 4), (1, 6)], given) for file, role in (("new", "new"), ("old", "baseline"))
    ]
    assert json.loads(capsys.readouterr().out)["n_instructions"] == [
        {"batch_size": 1, "length": 4, "new": 4001, "baseline": 4002},
        {"batch_size": 1, "length": 6, "new": 6001, "baseline": 6002},
    ]


def test_a_counter_that_is_missing_ends_the_gate_before_it_measures(plan_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert main(["--gate", str(plan_file(counter="callgrind")), str(tmp_path / "gate.json")]) == 3
    line = "bench: --counter callgrind: valgrind is not installed; apt-get install valgrind\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counter": "perf"}, "'counter' should be 'callgrind' or null, got 'perf'"),
        ({"format": 2}, "not a bench plan of format 1"),
        ({"budget": 3}, "unknown key 'budget'"),
        ({"baseline": None}, "'baseline' should be the name of an ONNX file"),
        ({"lengths": []}, r"'lengths' should be a list of numbers, each at least 1, got \[\]"),
        ({"budget_s": 0}, "'budget_s' should be above 0, got 0"),
        ({"margin": -0.1}, "'margin' should be at least 0, got -0.1"),
        ({"baseline": "no.onnx"}, r"no\.onnx: no such file"),
    ],
)
def test_a_wrong_plan_is_refused(plan_file, changes, message):
    with pytest.raises(PlanError, match=message):
        gate.read_gate_plan(plan_file(**changes))


def test_a_missing_new_file_is_a_wrong_input(plan_file):
    with pytest.raises(InputError, match=r"no\.onnx: no such file"):
        gate.read_gate_plan(plan_file(new="no.onnx"))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (image_model, "the baseline has other inputs, 'attention_mask' is missing there and int64 ?x? in the new file"),
        (
            lambda path: text_model(path, length=4),
            "the baseline has other inputs, 'attention_mask' is int64 ?x4 there and int64 ?x? in the new file",
        ),
    ],
)
def test_a_baseline_of_other_inputs_is_refused(plan_file, tmp_path, capsys, make, line):
    make(tmp_path / "old.onnx")
    assert main(["--gate", str(plan_file()), str(tmp_path / "gate.json")]) == 2
    assert capsys.readouterr().err == f"bench: {tmp_path / 'old.onnx'}: {line}\n"


def test_a_damaged_file_is_named(plan_file, tmp_path, capsys):
    (tmp_path / "new.onnx").write_bytes(b"not a model")
    assert main(["--gate", str(plan_file()), str(tmp_path / "gate.json")]) == 3
    assert capsys.readouterr().err.startswith(f"bench: {tmp_path / 'new.onnx'}: onnxruntime cannot open it: ")


def test_inputs_that_do_not_fit_are_one_line(plan_file, tmp_path, capfd):
    """Also below Python, where onnxruntime logs."""
    inputs = {"input_ids": {"below": 10_000}}
    assert main(["--gate", str(plan_file(inputs=inputs)), str(tmp_path / "gate.json")]) == 3
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith(f"bench: {tmp_path / 'new.onnx'}: onnxruntime cannot run it with input_ids [1, 4], ")
