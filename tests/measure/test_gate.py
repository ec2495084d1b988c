"""`compress gate`: verdicts become exit codes, limits, a table, and what CI reads; the measuring is put in."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from bench_files import N_WORDS, image_model, text_model
from onnx import numpy_helper

from compressor.bench.decision import VERDICTS
from compressor.cli import main
from compressor.graphs import flops
from compressor.measure import gate as measured_gate
from compressor.measure import launch
from compressor.report import gate as shown_gate
from compressor.report import words
from compressor.report.gate_result import Check


def entry(verdict="pass", ratio=0.001, length=32, threads=1, difference=1e-6):
    return {
        "batch_size": 1, "length": length, "threads": threads, "n_blocks": 20, "new_cpu_ms": 10 * (1 + ratio),
        "baseline_cpu_ms": 10.0, "ratio": ratio, "low": ratio - 0.004, "high": ratio + 0.004, "verdict": verdict,
        "output_difference": difference, "nonfinite_outputs": {"new": [], "baseline": []}, "other_outputs": [],
    }  # fmt: skip


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Two files with the same inputs, the new one with an operation more."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    text_model(Path("old.onnx"))
    proto = onnx.load("old.onnx")
    proto.graph.output[0].name = "scores"
    proto.graph.node.append(onnx.helper.make_node("Relu", ["logits"], ["scores"]))
    onnx.save(proto, "new.onnx")


@pytest.fixture
def labelled():
    """Write real inputs with their classes, four texts of ten words."""
    inputs = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), np.ones((4, 10), np.int64))
    arrays: dict[str, Any] = {**inputs, "labels": np.array([0, 1, 1, 0])}
    np.savez("dev.npz", **arrays)


@pytest.fixture
def finds(monkeypatch):
    """Say what the bench finds, shape by shape, run by run; collects the plans."""
    plans: list[Any] = []

    def put(*runs, memory=(2**20, 2**20), accuracy=None, n_instructions=None):
        def gate(plan):
            entries = runs[min(len(plans), len(runs) - 1)]
            plans.append(plan)
            peaks = dict(zip(("new", "baseline"), memory, strict=True))
            verdict = max((each["verdict"] for each in entries), key=VERDICTS.index)
            settings = {"seed": plan.get("seed", 0), "margin": plan["margin"], "budget_s": plan["budget_s"]}
            head = {"format": 1, "environment": {}, **settings}
            facts = {"peak_memory_bytes": peaks, "accuracy": accuracy, "n_examples": 200 if accuracy else None}
            facts["n_nonfinite"] = {"new": 0, "baseline": 0} if accuracy else None
            return {**head, "verdict": verdict, **facts, "n_instructions": n_instructions, "shapes": entries}

        monkeypatch.setattr(launch, "gate", gate)
        return plans

    return put


def gate(capsys, *options, baseline=("--baseline", "old.onnx")):
    """Run the command; return its exit code, what it printed, and its JSON."""
    code = main(["gate", "new.onnx", *baseline, *options])
    printed = capsys.readouterr()
    assert main(["gate", "new.onnx", *baseline, *options, "--json"]) == code
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return code, printed, json.loads(out)


@pytest.mark.parametrize(
    ("verdict", "options", "expected"),
    [
        ("pass", (), 0),
        ("improved", (), 0),
        ("regression", (), 6),
        ("regression", ("--inconclusive", "pass"), 6),
        ("inconclusive", (), 7),
        ("inconclusive", ("--inconclusive", "pass"), 0),
    ],
)
def test_each_verdict_has_its_exit_code(capsys, finds, verdict, options, expected):
    finds([entry(), entry(verdict, 0.05, length=128)])
    code, printed, found = gate(capsys, *options)
    assert (code, found["verdict"]) == (expected, "pass" if verdict == "improved" else verdict)
    assert printed.out.endswith(f"verdict: {found['verdict']}\n")
    assert len(printed.err.splitlines()) == (expected != 0)
    assert found.get("exit_code", 0) == expected


def test_flags_become_a_plan(capsys, finds, tmp_path):
    plans = finds([entry()])
    options = [
        "--margin",
        "3%",
        "--budget",
        "1min",
        "--batch-size",
        "2",
        "--length",
        "8",
        "--length",
        "16",
        "--threads",
        "2",
    ]
    gate(capsys, *options)
    gate(capsys)
    assert plans[0] == {
        "format": 1, "new": str(tmp_path / "new.onnx"), "baseline": str(tmp_path / "old.onnx"), "margin": 0.03,
        "budget_s": 60, "counter": None, "batch_sizes": [2], "lengths": [8, 16], "threads": [2],
        "inputs": {"input_ids": {"below": N_WORDS}},
    }  # fmt: skip
    assert (plans[2]["margin"], plans[2]["budget_s"]) == (0.02, 10)
    assert plans[2]["lengths"] == [32, 128]
    assert plans[2]["batch_sizes"] == [1]
    assert "threads" not in plans[2]


def test_inputs_of_a_file_are_measured_in_their_own_length(capsys, finds, labelled, tmp_path):
    plans = finds([entry()])
    gate(capsys, "--inputs", "dev.npz")
    gate(capsys, "--inputs", "dev.npz", "--length", "5")
    gate(capsys, "--inputs", "dev.npz", "--self-test", baseline=())
    given = [(plan["inputs_file"], plan["lengths"]) for plan in (plans[0], plans[2], plans[4])]
    assert given == [(str(tmp_path / "dev.npz"), lengths) for lengths in ([10], [5], [10])]


def test_every_check_has_the_same_keys(capsys, finds):
    finds([entry(length=None), entry("improved", -0.1, threads=2)])
    _, _, found = gate(capsys)
    assert [(each["name"], each["shape"]) for each in found["checks"]] == [
        ("latency", "1"), ("latency", "1x32, 2 threads"), ("outputs", "1"), ("outputs", "1x32"),
        ("flops", "1"), ("flops", "1x32"), ("bytes", None), ("parameters", None), ("memory", None),
        ("operations", None),
    ]  # fmt: skip
    assert all(each.keys() >= Check.__required_keys__ for each in found["checks"])
    latency = found["checks"][0]
    assert latency["low"] <= latency["ratio"] <= latency["high"] < latency["margin"] == 0.02
    assert {each["verdict"] for each in found["checks"][2:]} == {"info"}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--max-bytes", "0%"], "new.onnx: bytes: +{growth} %, margin 0 %"),
        (["--max-memory", "50%"], "new.onnx: memory: +100 %, margin 50 %"),
        (["--max-new-operations", "0"], "new.onnx: operations: 1 new, Relu 0 to 1, margin 0"),
        (["--max-difference", "1e-7"], "new.onnx: outputs 1x32: differ by 1e-06, margin 1e-07"),
    ],
)
def test_a_limit_of_its_own_is_a_gate(capsys, finds, options, line):
    finds([entry("improved", -0.1)], memory=(2**21, 2**20))
    code, printed, found = gate(capsys, *options)
    assert (code, found["verdict"]) == (6, "regression")
    growth = words.digits(100 * (Path("new.onnx").stat().st_size / Path("old.onnx").stat().st_size - 1))
    assert printed.err == f"compress: {line.format(growth=growth)}\n"


def test_nothing_is_not_more_than_nothing():
    """A graph without products against itself, under any limit; against it, any product is too much."""
    assert measured_gate._growth("flops", 0, 0, 0.0)["verdict"] == "pass"
    assert measured_gate._growth("flops", 2, 0, 0.5)["verdict"] == "regression"
    assert measured_gate._growth("flops", None, None, 0.5)["verdict"] == "regression"


def test_flops_are_counted_at_each_size_and_judged_by_their_limit(capsys, finds):
    """Eight more on sixteen: a matrix of 2 x 2 after one of 4 x 2, two FLOPs for each weight; not for each thread."""
    proto = onnx.load("old.onnx")
    proto.graph.output[0].name = "scores"
    proto.graph.initializer.append(numpy_helper.from_array(np.eye(2, dtype=np.float32), "turn"))
    proto.graph.node.append(onnx.helper.make_node("MatMul", ["logits", "turn"], ["scores"]))
    onnx.save(proto, "new.onnx")
    finds([entry(), entry(threads=2), entry(length=128)])
    _, printed, found = gate(capsys)
    counts = [each for each in found["checks"] if each["name"] == "flops"]
    assert [(each["shape"], each["new"], each["baseline"], each["ratio"], each["verdict"]) for each in counts] == [
        ("1x32", 24, 16, 0.5, "info"), ("1x128", 24, 16, 0.5, "info"),
    ]  # fmt: skip
    assert "flops 1x32" in printed.out
    assert gate(capsys, "--max-flops", "50%")[0] == 0
    code, printed, _ = gate(capsys, "--max-flops", "49%")
    assert code == 6
    assert printed.err.splitlines() == [
        f"compress: new.onnx: flops {size}: +50.0 %, margin 49 %" for size in ("1x32", "1x128")
    ]


INSTRUCTIONS = [{"batch_size": 1, "length": 32, "new": 10_060_000, "baseline": 10_000_000}]


@pytest.mark.parametrize(
    ("limit", "found", "expected", "line"),
    [
        ([], INSTRUCTIONS, 6, "new.onnx: instructions 1x32: +0.600 %, margin 0.5 %"),
        (["--max-instructions", "0.1%"], INSTRUCTIONS, 6, "new.onnx: instructions 1x32: +0.600 %, margin 0.1 %"),
        (["--max-instructions", "1%"], INSTRUCTIONS, 0, None),
        ([], [{**INSTRUCTIONS[0], "new": 10_049_000}], 0, None),
        ([], [{**INSTRUCTIONS[0], "new": 9_000_000}], 0, None),
    ],
)
def test_instructions_have_a_limit_as_soon_as_they_are_counted(capsys, finds, limit, found, expected, line):
    plans = finds([entry()], n_instructions=found)
    code, printed, result = gate(capsys, "--counter", "callgrind", *limit)
    assert (code, plans[0]["counter"]) == (expected, "callgrind")
    assert printed.err.splitlines() == ([f"compress: {line}"] if line else [])
    counted = result["checks"][1]
    assert (counted["name"], counted["verdict"]) == ("instructions", "regression" if expected else "pass")
    assert "10.0 M" in printed.out


@pytest.mark.parametrize(
    ("accuracy", "options", "expected", "line"),
    [
        (
            (0.885, 0.900),
            ["--max-accuracy-drop", "1%"],
            6,
            f"new.onnx: accuracy: {words.MINUS}1.50 points, margin 1.00 points",
        ),
        ((0.895, 0.905), ["--max-accuracy-drop", "1%"], 0, None),
        ((0.910, 0.900), ["--max-accuracy-drop", "0%"], 0, None),
        ((0.5, 0.9), [], 0, None),
    ],
)
def test_accuracy_is_judged_by_what_was_lost(capsys, finds, labelled, accuracy, options, expected, line):
    finds([entry()], accuracy=dict(zip(("new", "baseline"), accuracy, strict=True)))
    code, printed, result = gate(capsys, "--inputs", "dev.npz", *options)
    assert code == expected
    assert printed.err.splitlines() == ([f"compress: {line}"] if line else [])
    [check] = [each for each in result["checks"] if each["name"] == "accuracy"]
    assert check["difference"] == pytest.approx(accuracy[1] - accuracy[0])
    assert (check["new"], check["baseline"], check["n_examples"]) == (*accuracy, 200)
    assert check["verdict"] == ("regression" if expected else "pass" if options else "info")
    assert f"{accuracy[0]:.4f}" in printed.out


def test_limits_that_are_met_leave_the_verdict(capsys, finds):
    finds([entry("improved", -0.1)])
    options = ["--max-bytes", "50%", "--max-parameters", "0%", "--max-memory", "0", "--max-new-operations", "1"]
    code, _, found = gate(capsys, *options, "--max-difference", "1e-3", "--max-flops", "0")
    assert (code, found["verdict"]) == (0, "improved")
    assert {each["verdict"] for each in found["checks"][1:]} == {"pass"}


@pytest.mark.parametrize("options", [["--max-memory", "50%"], ["--max-difference", "1"], ["--max-flops", "50%"]])
def test_what_cannot_be_known_does_not_meet_its_limit(capsys, finds, monkeypatch, options):
    monkeypatch.setattr(flops, "count", lambda *given: None)
    finds([entry(difference=None)], memory=(None, None))
    code, printed, _ = gate(capsys, *options)
    assert code == 6
    assert "unknown, margin 50 %" in printed.err or "not comparable, margin 1" in printed.err


def test_the_table_says_what_changed(capsys, finds):
    finds([entry("regression", 0.051)])
    _, printed, _ = gate(capsys)
    header, latency, *_, operations, _, verdict = printed.out.splitlines()
    assert header.split() == ["check", "new", "baseline", "change", "margin", "verdict"]
    assert "+5.1 % (+4.7 % to +5.5 %)" in latency
    assert operations.split() == ["operations", "4", "3", "1", "new", words.NONE, words.NONE]
    assert verdict == "verdict: regression"
    assert printed.err == "compress: new.onnx: latency 1x32: +5.1 % (+4.7 % to +5.5 %), margin 2 %\n"


def test_a_regression_elsewhere_does_not_blame_the_undecided(capsys, finds):
    finds([entry("inconclusive", 0.019), entry("regression", 0.05, length=128)])
    _, printed, _ = gate(capsys)
    assert [line.split(": ")[2] for line in printed.err.splitlines()] == ["latency 1x128"]


def test_no_answer_says_what_helps(capsys, finds):
    finds([entry("inconclusive", 0.019)])
    _, printed, _ = gate(capsys)
    assert printed.err.endswith(
        "margin 2 %, undecided; give a longer --budget or a wider --margin, or free the machine\n"
    )


def test_ci_reads_test_cases_and_a_table(capsys, finds):
    finds([entry("inconclusive", 0.019), entry("regression", 0.05, length=128)])
    arguments = ["gate", "new.onnx", "--baseline", "old.onnx", "--max-parameters", "0%"]
    for _ in range(2):
        assert main([*arguments, "--junit", "gate.xml", "--markdown", "summary.md"]) == 6
    capsys.readouterr()
    suite = ElementTree.parse("gate.xml").getroot()
    assert suite.attrib == {"name": "compress gate", "tests": "3", "failures": "1", "skipped": "1"}
    assert [(case.get("name"), [child.tag for child in case]) for case in suite] == [
        ("latency 1x32", ["skipped"]), ("latency 1x128", ["failure"]), ("parameters", []),
    ]  # fmt: skip
    summary = Path("summary.md").read_text()
    assert summary.count("### compress gate: regression") == 2, "summaries are added to"
    assert "| latency 1x128 | 10.5 ms | 10.0 ms | +5.0 % (+4.6 % to +5.4 %) | 2 % | regression |" in summary


def test_github_marks_the_file(capsys, finds, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    finds([entry("inconclusive", 0.019), entry("regression", 0.05, length=128)])
    _, printed, _ = gate(capsys)
    warning, error, _ = printed.err.splitlines()
    assert warning.startswith("::warning file=new.onnx,title=compress gate::latency 1x32: +1.9 %25")
    assert error == (
        "::error file=new.onnx,title=compress gate::latency 1x128: +5.0 %25 (+4.6 %25 to +5.4 %25), margin 2 %25"
    )


def test_a_miss_by_little_is_not_shown_as_none(capsys, finds):
    grown = [{"batch_size": 1, "length": 32, "new": 10_000_100, "baseline": 10_000_000}]
    finds([entry()], n_instructions=grown)
    _, printed, _ = gate(capsys, "--counter", "callgrind", "--max-instructions", "0%")
    assert printed.err == "compress: new.onnx: instructions 1x32: +0.00100 %, margin 0 %\n"


def test_annotations_escape_what_github_reads():
    check = measured_gate._latency(entry("regression", ratio=0.1), margin=0.02)
    result = {"new": "C:a,b.onnx", "verdict": "regression", "inconclusive": "fail", "checks": [check]}
    [line] = shown_gate.annotations(result)
    assert line.startswith("::error file=C%3Aa%2Cb.onnx,title=")


@pytest.mark.parametrize("option", ["--junit", "--markdown"])
def test_a_place_that_cannot_be_written(capsys, finds, option):
    """It is found out before anything is measured; a folder that is missing is made."""
    plans = finds([entry()])
    Path("taken").touch()
    assert main(["gate", "new.onnx", "--baseline", "old.onnx", option, "taken/file"]) == 3
    assert capsys.readouterr().err == "compress: taken/file: cannot be written: File exists\n"
    assert not plans
    assert main(["gate", "new.onnx", "--baseline", "old.onnx", option, "made/for/it/file"]) == 0
    assert "latency 1x32" in Path("made/for/it/file").read_text()


class TestSelfTest:
    def test_a_good_machine(self, capsys, finds):
        plans = finds([entry(), entry("improved", -0.01, length=128)])
        code, printed, found = gate(capsys, "--self-test", baseline=())
        assert code == 0
        assert [plan["seed"] for plan in plans[:10]] == list(range(10))
        assert all(plan["new"] == plan["baseline"] for plan in plans)
        assert (found["n_runs"], found["n_false_alarms"], found["false_alarm_rate"]) == (10, 0, 0)
        assert [each["n_without_zero"] for each in found["shapes"]] == [0, 10]
        assert found["shapes"][0]["half_width"] == pytest.approx(0.004)
        assert "new.onnx against itself, 10 runs of 10 s, margin 2 %" in printed.out
        assert found["false_alarm_interval"] == pytest.approx([0, 1 - 0.025**0.1])
        assert "false alarms: 0 of 10 (0 %, 95 % interval 0 % to 31 %)" in printed.out

    def test_false_alarms_and_open_ends_are_counted(self, capsys, finds):
        runs = [[entry()]] * 7 + [[entry("regression", 0.05)]] + [[entry("inconclusive")]] * 2
        finds(*runs)
        assert main(["gate", "new.onnx", "--self-test"]) == 7
        printed = capsys.readouterr()
        assert (
            "false alarms: 1 of 10 (10 %, 95 % interval 0 % to 45 %)\ninconclusive: 2 of 10\nverdict: inconclusive"
            in printed.out
        )
        assert "compress: new.onnx: of 10 runs against itself 1 are false alarms and 2 inconclusive; " in printed.err

    @pytest.mark.parametrize(
        "options",
        [
            ["--baseline", "old.onnx"],
            ["--junit", "x"],
            ["--max-bytes", "0"],
            ["--inconclusive", "pass"],
            ["--counter", "callgrind"],
            ["--max-accuracy-drop", "0"],
        ],
    )
    def test_it_takes_nothing_that_it_would_not_use(self, capsys, options):
        assert main(["gate", "new.onnx", "--self-test", *options]) == 2
        assert "--self-test takes only --margin, --budget, --inputs and the shapes" in capsys.readouterr().err


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "code", "line"),
        [
            (["new.onnx"], 2, "give --baseline OLD.onnx, or --self-test; see compress --help"),
            (["new.onnx", "--baseline", "no.onnx"], 2, "no.onnx: no such baseline; give the ONNX file to compare with"),
            (["no.onnx", "--baseline", "old.onnx"], 3, "no.onnx: no such file"),
            (
                ["new.onnx", "--baseline", "old.onnx", "--max-instructions", "1%"],
                2,
                "--max-instructions needs --counter callgrind; see compress --help",
            ),
            (
                ["new.onnx", "--baseline", "old.onnx", "--max-accuracy-drop", "1%"],
                2,
                "--max-accuracy-drop: needs inputs with an array 'labels'; give --inputs FILE.npz",
            ),
            (["no.onnx", "--self-test"], 3, "no.onnx: no such file"),
            (
                ["new.onnx", "--self-test", "--margin", "2x"],
                2,
                "invalid value for '--margin': should be a share such as 2% or 0.02, got '2x'; see compress --help",
            ),
            (
                ["new.onnx", "--self-test", "--budget", "0s"],
                2,
                "invalid value for '--budget': should be a time such as 10s or 1min, got '0s'; see compress --help",
            ),
        ],
    )
    def test_one_line(self, capsys, arguments, code, line):
        assert main(["gate", *arguments]) == code
        assert capsys.readouterr().err == f"compress: {line}\n"

    @pytest.mark.parametrize("name", ["new.onnx", "old.onnx"])
    def test_a_damaged_file(self, capsys, name):
        Path(name).write_bytes(b"not a model")
        assert main(["gate", "new.onnx", "--baseline", "old.onnx"]) == 3
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"compress: {name}: not a readable ONNX file")

    def test_external_data_that_is_missing(self, capsys):
        onnx.save(onnx.load("new.onnx"), "new.onnx", save_as_external_data=True, location="weights", size_threshold=0)
        Path("weights").unlink()
        assert main(["gate", "new.onnx", "--baseline", "old.onnx"]) == 3
        line = "compress: new.onnx: its weights are missing, 'weights' should be next to it\n"
        assert capsys.readouterr().err == line

    def test_external_data_that_lies_outside(self, capsys):
        """A file from anywhere may not read what it likes."""
        proto = onnx.load("new.onnx")
        onnx.save(proto, "new.onnx", save_as_external_data=True, location="weights", size_threshold=0)
        content = Path("new.onnx").read_bytes()
        for place in ("../wei", "/weigh"):
            Path("new.onnx").write_bytes(content.replace(b"weights", place.encode().ljust(7, b"x")))
            assert main(["gate", "new.onnx", "--baseline", "old.onnx"]) == 3
            line = f"compress: new.onnx: its weights should be next to it, got {place.ljust(7, 'x')!r}\n"
            assert capsys.readouterr().err == line

    def test_inputs_that_are_not_there(self, capsys, tmp_path):
        assert main(["gate", "new.onnx", "--baseline", "old.onnx", "--inputs", "no.npz"]) == 3
        assert (
            capsys.readouterr().err
            == f"compress: {tmp_path / 'no.npz'}: not a readable .npz file of arrays: no such file\n"
        )

    def test_inputs_without_labels_where_accuracy_has_a_limit(self, capsys, labelled):
        np.savez("dev.npz", input_ids=np.ones((4, 10), np.int64))
        assert (
            main(["gate", "new.onnx", "--baseline", "old.onnx", "--inputs", "dev.npz", "--max-accuracy-drop", "0"]) == 3
        )
        [line] = capsys.readouterr().err.splitlines()
        assert line.endswith("dev.npz: no array 'labels'; add one with the right class of each example")

    @pytest.mark.parametrize(
        ("arrays", "complaint"),
        [
            ({"ids": np.ones((4, 10), np.int64)}, "no array 'input_ids', which the model takes; it has ids"),
            ({"labels": np.zeros(3, np.int64)}, "every array should have as many examples, got "),
        ],
    )
    def test_inputs_that_do_not_fit(self, capsys, labelled, arrays, complaint):
        """Through the process that measures."""
        with np.load("dev.npz") as content:
            kept = {} if "ids" in arrays else dict(content)
        np.savez("dev.npz", **{**kept, **arrays})
        assert main(["gate", "new.onnx", "--baseline", "old.onnx", "--inputs", "dev.npz"]) == 3
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("compress: ")
        assert f"dev.npz: {complaint}" in line

    def test_a_counter_without_valgrind(self, capsys, monkeypatch, tmp_path):
        """Through the process that measures, before it does."""
        monkeypatch.setenv("PATH", str(tmp_path))
        assert main(["gate", "new.onnx", "--baseline", "old.onnx", "--counter", "callgrind"]) == 3
        line = "compress: --counter callgrind: valgrind is not installed; apt-get install valgrind\n"
        assert capsys.readouterr().err == line

    def test_a_baseline_with_other_inputs(self, capsys, tmp_path):
        """Through the process that measures."""
        image_model(Path("old.onnx"))
        assert main(["gate", "new.onnx", "--baseline", "old.onnx"]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"compress: {tmp_path / 'old.onnx'}: the baseline has other inputs, 'attention_mask' is")


def test_two_files_are_really_measured(capsys):
    """Whatever this machine makes of a moment's measuring, all facts are there."""
    code = main(["gate", "new.onnx", "--baseline", "old.onnx", "--budget", "0.1s", "--length", "4", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == {"improved": 0, "pass": 0, "regression": 6, "inconclusive": 7}[found["verdict"]]
    latency, outputs, *_, operations = found["checks"]
    assert latency["new"] > 0
    assert latency["n_blocks"] >= 8
    assert outputs["difference"] is None, "the output has another name"
    assert operations["new"]["Relu"] == 1
