"""`compress gate` on files whose answers are broken, or are answers to other words; the timing is short."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx_files import classifier, write

from compressor.bench import decision, load
from compressor.bench import gate as bench_gate
from compressor.cli import main
from compressor.measure import launch

SOUND = "g (float[batch, 3] x) => (float[batch, 4] logits) { logits = MatMul (x, w) }"
TWO_OUTPUTS = """g (float[batch, 3] x) => (float[batch, 4] logits, float[batch, 4] more)
    { logits = MatMul (x, w) more = Relu (logits) }"""
RENAMED = "g (float[batch, 3] x) => (float[batch, 4] scores) { scores = MatMul (x, w) }"
LABELS = "g (float[batch, 3] x) => (int64[batch, 4] logits) { y = MatMul (x, w) logits = Cast <to = 7> (y) }"


def weights(**changed: float) -> np.ndarray:
    """Draw the weights, with the entries or the whole of it replaced."""
    drawn = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    drawn[: changed.get("rows", 3), : changed.get("columns", 4)] = changed["to"]
    return drawn


GOOD = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
ALL_NAN, ONE_NAN, INFINITE = weights(to=np.nan), weights(to=np.nan, columns=1), weights(to=np.inf)
NO_NUMBERS = "NaN or infinite in logits of the"
PAIRS = {
    "all NaN": ((SOUND, ALL_NAN), (SOUND, GOOD), f"not comparable: {NO_NUMBERS} new file"),
    "one NaN": ((SOUND, ONE_NAN), (SOUND, GOOD), f"not comparable: {NO_NUMBERS} new file"),
    "infinite": ((SOUND, INFINITE), (SOUND, GOOD), f"not comparable: {NO_NUMBERS} new file"),
    "NaN before and after": (
        (SOUND, ALL_NAN),
        (SOUND, ALL_NAN),
        f"not comparable: {NO_NUMBERS} new file, {NO_NUMBERS} baseline",
    ),
    "NaN before": ((SOUND, GOOD), (SOUND, ONE_NAN), f"not comparable: {NO_NUMBERS} baseline"),
    "one too many": ((TWO_OUTPUTS, GOOD), (SOUND, GOOD), "more in one file only, or of another type or shape"),
    "one too few": ((SOUND, GOOD), (TWO_OUTPUTS, GOOD), "more in one file only, or of another type or shape"),
    "renamed": ((RENAMED, GOOD), (SOUND, GOOD), "logits, scores in one file only, or of another type or shape"),
    "half the classes": (
        (SOUND, GOOD[:, :2]),
        (SOUND, GOOD),
        "logits in one file only, or of another type or shape",
    ),
    "whole numbers": ((LABELS, GOOD), (SOUND, GOOD), "logits in one file only, or of another type or shape"),
}


@pytest.fixture(autouse=True)
def short(tmp_path, monkeypatch):
    """Measure in this process, two blocks at a shape, and no memory."""

    def gate(plan):
        Path("plan.json").write_text(json.dumps(plan))
        return bench_gate.gate(bench_gate.read_gate_plan(Path("plan.json")), lambda line: None)

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setattr(launch, "gate", gate)
    monkeypatch.setattr(decision, "MIN_BLOCKS", 2)
    monkeypatch.setattr(load, "in_child", lambda *given: {"load_ms": None, "peak_memory_bytes": None})


def gate(capsys, *options):
    """Give the exit code, the checks of what is answered, and what was said; no time decides."""
    lenient = ("--budget", "0.01s", "--margin", "1000%", "--inconclusive", "pass")
    code = main(["gate", "new.onnx", "--baseline", "old.onnx", *lenient, *options, "--json"])
    said = capsys.readouterr()
    answer = json.loads(said.out)
    return code, [each for each in answer.get("checks", []) if each["name"] in ("outputs", "accuracy")], said.err


def save(name: str, made: tuple[str, np.ndarray]) -> None:
    text, array = made
    write(Path(name), text.replace("[batch, 4]", f"[batch, {array.shape[1]}]"), {"w": array})


@pytest.mark.parametrize("name", PAIRS)
def test_a_broken_pair_is_a_regression_unless_it_is_meant(capsys, name):
    new, baseline, complaint = PAIRS[name]
    save("new.onnx", new)
    save("old.onnx", baseline)
    allow, other = ["--allow-nonfinite", "--allow-other-outputs"][:: 1 if "NaN" in complaint else -1]
    code, checks, said = gate(capsys)
    assert (code, {each["verdict"] for each in checks}) == (6, {"regression"})
    assert complaint in said
    assert f"; {allow} where it is meant" in said
    assert gate(capsys, other)[0] == 6
    code, checks, _ = gate(capsys, allow)
    assert (code, {each["verdict"] for each in checks}) == (0, {"info"})


def test_a_sound_pair_passes(capsys):
    save("new.onnx", (SOUND, GOOD))
    save("old.onnx", (SOUND, GOOD))
    code, [check], _ = gate(capsys, "--max-difference", "0")
    assert (code, check["difference"], check["verdict"]) == (0, 0, "pass")


@pytest.mark.parametrize(("new", "baseline"), [(ALL_NAN, ALL_NAN), (ONE_NAN, GOOD), (GOOD, ONE_NAN)])
@pytest.mark.parametrize("options", [(), ("--allow-nonfinite",)])
def test_accuracies_of_scores_that_are_nan_are_never_compared(capsys, new, baseline, options):
    save("new.onnx", (SOUND, new))
    save("old.onnx", (SOUND, baseline))
    np.savez("in.npz", x=np.ones((5, 3), np.float32), labels=np.zeros(5, np.int64))
    code, checks, said = gate(capsys, "--inputs", "in.npz", "--max-accuracy-drop", "100%", *options)
    [check] = [each for each in checks if each["name"] == "accuracy"]
    assert (code, check["verdict"], check["difference"]) == (6, "regression", None)
    assert check["n_nonfinite"] == {"new": 5 * (new is not GOOD), "baseline": 5 * (baseline is not GOOD)}
    assert "answers NaN or infinite" in said


def test_one_example_out_of_many_is_enough(capsys):
    """Outputs are compared for the first examples only; the scores of all of them are looked at."""
    text = "g (float[batch, 2] x) => (float[batch, 2] logits) { logits = Log (x) }"
    for name in ("new.onnx", "old.onnx"):
        write(Path(name), text)
    x = np.array([[1, 2], [2, 1], [-1, 2]], np.float32)
    np.savez("in.npz", x=x, labels=np.array([1, 0, 1]))
    code, checks, said = gate(capsys, "--inputs", "in.npz")
    assert (code, [each["verdict"] for each in checks]) == (6, ["info", "regression"])
    assert "accuracy: unknown, 1 new and 1 old answers NaN or infinite" in said
    np.savez("in.npz", x=np.abs(x) - 1, labels=np.array([1, 0, 1]))
    code, checks, _ = gate(capsys, "--inputs", "in.npz", "--allow-nonfinite", "--max-accuracy-drop", "0")
    assert (code, checks[1]["new"], checks[1]["n_nonfinite"]) == (0, 1.0, {"new": 3, "baseline": 3})


class TestTrimmedVocabulary:
    """The new file lacks the first word, so that every id is one lower there."""

    @pytest.fixture(autouse=True)
    def trimmed(self):
        import onnx
        from onnx import numpy_helper

        proto = onnx.load(classifier(Path("old.onnx")))
        [words] = [each for each in proto.graph.initializer if each.name == "words"]
        words.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(words)[1:], "words"))
        onnx.save(proto, "new.onnx")
        self.ids = np.random.default_rng(0).integers(1, 12, (20, 6))
        self.labels = np.zeros(20, np.int64)
        np.savez("new.npz", input_ids=self.ids - 1, labels=self.labels)
        np.savez("old.npz", input_ids=self.ids, labels=self.labels)

    @pytest.mark.parametrize("options", [["--inputs", "new.npz"], ["--max-difference", "1"]])
    def test_answers_to_other_words_are_not_compared(self, capsys, options):
        code, _, said = gate(capsys, *options)
        assert code == 2
        assert "the baseline reads other ids, 'input_ids' is below 12 there and below 11 in the new file" in said
        assert "--baseline-inputs FILE.npz" in said

    def test_each_file_reads_its_own_ids(self, capsys):
        options = ["--inputs", "new.npz", "--baseline-inputs", "old.npz", "--max-accuracy-drop", "0"]
        code, checks, _ = gate(capsys, *options, "--max-difference", "0")
        assert (code, [each["verdict"] for each in checks]) == (0, ["pass", "pass"])
        assert checks[1]["new"] == checks[1]["baseline"]

    def test_the_examples_are_the_same_ones(self, capsys):
        np.savez("old.npz", input_ids=self.ids, labels=self.labels[::-1] + 1)
        code, _, said = gate(capsys, "--inputs", "new.npz", "--baseline-inputs", "old.npz")
        assert code == 3
        assert "'labels' should be those of" in said

    def test_speed_alone_needs_no_words(self, capsys):
        assert gate(capsys)[0] == 0

    def test_inputs_of_the_baseline_alone(self, capsys):
        code, _, said = gate(capsys, "--baseline-inputs", "old.npz")
        assert (code, "--baseline-inputs needs --inputs" in said) == (2, True)
