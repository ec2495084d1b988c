"""Bad input: one clear line, the right exit code, and what the run directory held before stays as it was."""

import errno
import hashlib
import json
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from task_runs import measure_briefly

from compressor import cli, rundir
from compressor.errors import RunDirError
from compressor.files import explained
from compressor.pipeline import needs
from compressor.training import phase

LOOK = needs.require_disk
RECIPE = """\
model: {{checkpoint: {checkpoint}, task: text-classification}}
data: {{dataset: {dataset}, held_out: 0.1}}
stages:
  - stage: project
    column_sparsity: 0.5
    rounds: 2
    retrain: {{steps: 2, batch_size: 8, lr: 1.0e-3}}
  - stage: shrink
bench: {{lengths: [8]}}
"""
RUN = Path("runs/my")
THREE_WAYS = ("give a local folder", "set HF_ENDPOINT to a mirror", "compress --recipe digits_l1inf.yaml")


@pytest.fixture(scope="module")
def text(bert_folder, sentences_csv):
    return RECIPE.format(checkpoint=bert_folder, dataset=sentences_csv)


@pytest.fixture(scope="module")
def finished(text, tmp_path_factory):
    """Give the folder of a finished run, which nobody changes."""
    home = tmp_path_factory.mktemp("finished")
    (home / "my.yaml").write_text(text)
    assert cli.main(["--recipe", str(home / "my.yaml"), "--run-dir", str(home / "run"), "--json"]) == 0
    return home / "run"


@pytest.fixture
def recipe(text, tmp_path, monkeypatch):
    """Stand in a folder of its own, with the recipe in a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where the traceback of a bug would go
    Path("my.yaml").write_text(text)
    return Path("my.yaml")


@pytest.fixture
def earlier(recipe, finished):
    """Put earlier results in the run directory."""
    shutil.copytree(finished, RUN)


@pytest.fixture
def checkpoint(bert_folder, tmp_path):
    """Give a checkpoint that may be spoiled."""
    return Path(shutil.copytree(bert_folder, tmp_path / "checkpoint"))


def contents(folder=RUN, pattern="*"):
    """Digest and time of every file but the lock."""
    files = [file for file in folder.rglob(pattern) if file.is_file() and file.name != "lock"]
    return {file: (file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).digest()) for file in files}


def compress(capsys, *arguments):
    """Run the recipe; return the exit code, what is on stdout, and everything on stderr."""
    exit_code = cli.main(["--recipe", "my.yaml", "--json", *map(str, arguments)])
    shown = capsys.readouterr()
    assert shown.out.count("\n") == 1
    return exit_code, json.loads(shown.out), shown.err


def fails(capsys, *arguments):
    """Run a recipe that cannot be run to its end; return the exit code and the lines that say why."""
    exit_code, answer, shown = compress(capsys, *arguments)
    said = [line.removeprefix("compress: ") for line in shown.splitlines() if line.startswith("compress: ")]
    assert (answer["exit_code"], answer["error"].splitlines()) == (exit_code, said)
    assert all(re.match(r"\S.*?: \S", line) and not line.endswith(".") for line in said)
    assert "Traceback" not in shown
    assert list(Path().rglob("traceback.txt")) == []
    return exit_code, said


def refused(capsys, *arguments):
    """Run a recipe that is refused before anything is written, with one line."""
    before = contents()
    exit_code, [line] = fails(capsys, *arguments)
    assert contents() == before != {}
    return exit_code, line


def change(recipe, old, new):
    text = recipe.read_text()
    assert text.count(old) == 1
    recipe.write_text(text.replace(old, new))


@pytest.mark.usefixtures("earlier")
class TestRecipe:
    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("rounds: 2", "round: 2", "my.yaml:6: stages[0].round: unknown key; did you mean 'rounds'?"),
            ("rounds: 2", "rounds: two", "my.yaml:6: stages[0].rounds: should be a valid integer, got 'two'"),
            ("rounds: 2", "rounds: 2\n    rounds: 3", "my.yaml:7: stages[0].rounds: duplicate key, first given at "),
            ("stage: project", "stage: projcet", "my.yaml:4: stages[0]: unknown stage 'projcet'; did you mean 'pro"),
            ("- stage: shrink", "- stage: export\n  - stage: shrink", "my.yaml:9: stages[2]: 'shrink' takes Model, b"),
            ("- stage: shrink", "- stage: quantize", "my.yaml:8: stages[1]: 'quantize' takes OnnxGraph, but 'project'"),
        ],
    )
    def test_a_mistake_is_named_with_its_line(self, capsys, recipe, old, new, said):
        change(recipe, old, new)
        exit_code, line = refused(capsys)
        assert exit_code == 2
        assert line.startswith(said)

    def test_no_stages(self, capsys, recipe):
        recipe.write_text(re.sub(r"(?s)stages:.*?bench", "stages: []\nbench", recipe.read_text()))
        assert refused(capsys) == (2, "my.yaml:3: stages: is empty; give at least one entry")

    def test_several_mistakes_have_a_line_each(self, capsys, recipe):
        change(recipe, "rounds: 2", "round: 2")
        before = contents()
        exit_code, lines = fails(capsys, "--set", "seed=x")
        assert (exit_code, len(lines)) == (2, 2)
        assert contents() == before

    def test_a_missing_file(self, capsys, recipe):
        recipe.unlink()
        exit_code, line = refused(capsys)
        assert (exit_code, line.partition(";")[0]) == (2, "my.yaml: no such file or packaged recipe")

    @pytest.mark.parametrize(
        ("setting", "said"),
        [
            (
                "widths=[no*]",
                "stages[0] (project): no width matches 'no*'; there are 'layer.0.heads', 'layer.0.head_dims'",
            ),
            ("column_sparsity={'*.ffn': 0.5}", "stages[0] (project): column_sparsity: no pattern matches the width "),
            ("retrain.freeze=[no*]", "stages[0] (project): freeze: no parameter matches 'no*'; there are "),
            ("retrain.freeze=['*']", "stages[0] (project): freeze: no parameter is left to train, got '*'"),
        ],
    )
    def test_what_does_not_fit_the_network_is_found_before_any_work(self, capsys, setting, said):
        exit_code, line = refused(capsys, "--set", f"stages.0.{setting}")
        assert exit_code == 2
        assert line.startswith(said)


@pytest.mark.usefixtures("earlier")
class TestInput:
    def refused(self, capsys, key, value):
        exit_code, line = refused(capsys, "--set", f"{key}={value}")
        assert exit_code == 3
        return line

    def test_missing(self, capsys):
        for key in ("model.checkpoint", "data.dataset"):
            assert self.refused(capsys, key, "./no").startswith(f"{key}: no such ")

    @pytest.mark.parametrize("n_bytes", [0, 4, 100, 20_000])
    def test_truncated_weights(self, capsys, checkpoint, n_bytes):
        weights = checkpoint / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:n_bytes])
        line = self.refused(capsys, "model.checkpoint", checkpoint)
        assert line.startswith(f"{weights}: damaged or truncated (")

    def test_weights_that_are_no_numbers(self, capsys, checkpoint):
        weights = load_file(checkpoint / "model.safetensors")
        weights["classifier.weight"][0, 0] = torch.nan
        save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
        line = self.refused(capsys, "model.checkpoint", checkpoint)
        said = "'classifier.weight' has NaN or infinite weights; fetch or train it again"
        assert line == f"model.checkpoint: {said}"

    def test_an_unsupported_architecture(self, capsys, checkpoint):
        config = json.loads((checkpoint / "config.json").read_text())
        (checkpoint / "config.json").write_text(json.dumps({**config, "model_type": "berd"}))
        line = self.refused(capsys, "model.checkpoint", checkpoint)
        assert line == "model: transformers has no family 'berd'; did you mean 'bert'?"

    def test_a_pickle_is_never_opened(self, capsys, checkpoint, tmp_path):
        class Trap:
            def __reduce__(self):
                return Path.touch, (tmp_path / "opened",)

        (checkpoint / "model.safetensors").unlink()
        (checkpoint / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
        line = self.refused(capsys, "model.checkpoint", checkpoint)
        assert "found only 'pytorch_model.bin'; pickles are never opened" in line
        assert not (tmp_path / "opened").exists()
        pickle.loads((checkpoint / "pytorch_model.bin").read_bytes())
        assert (tmp_path / "opened").exists()  # the trap was a trap

    @pytest.mark.parametrize(
        ("header", "labels", "said"),
        [
            ("sentence", "", "data.columns.label: no column fits, out of 'sentence'; "),
            ("sentence,label", ",", "data.train_split: no row of 'train' has a label"),
            ("sentence,label", ",0 ,1 ,2", "data: 3 labels for a head of 2 outputs, the dataset has '0', '1', '2', "),
            ("sentence,label", ",a ,b", "data: the names of the labels differ, the dataset has 'a', 'b', the model "),
        ],
    )
    def test_labels_that_are_missing_or_do_not_match(self, capsys, header, labels, said):
        rows = [f"the film is good{label}" for label in labels.split(" ")] * 20
        Path("odd.csv").write_text("\n".join([header, *rows]) + "\n")
        assert self.refused(capsys, "data.dataset", "odd.csv").startswith(said)

    @pytest.mark.parametrize("key", ["model.checkpoint", "data.dataset"])
    def test_a_hub_id_without_network_names_three_ways_on(self, capsys, key):
        line = self.refused(capsys, key, "nobody/nothing")
        assert line.startswith(f"{key}: no local folder, and not reachable at ")
        assert all(way in line for way in THREE_WAYS)

    @pytest.mark.slow
    def test_a_closed_port_is_a_hub_out_of_reach(self, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        before = contents()
        command = ["--recipe", "my.yaml", "--set", "data.dataset=nobody/nothing"]
        done = subprocess.run([sys.executable, "-m", "compressor.cli", *command], capture_output=True, text=True)
        assert done.returncode == 3
        assert all(way in done.stderr.splitlines()[-1] for way in THREE_WAYS)
        assert contents() == before

    def test_a_checkpoint_without_a_head(self, capsys, recipe, checkpoint):
        config = json.loads((checkpoint / "config.json").read_text())
        (checkpoint / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
        line = self.refused(capsys, "model.checkpoint", checkpoint)
        assert line.endswith("; make finetune the first stage, or give a fine-tuned checkpoint")
        change(recipe, "stage: project", "stage: finetune\n    retrain: {steps: 1, distill: {}}\n  - stage: project")
        exit_code, line = refused(capsys, "--set", f"model.checkpoint={checkpoint}")
        assert (exit_code, line.rpartition(": ")[0]) == (2, "stages[0] (finetune)")


@pytest.mark.usefixtures("earlier")
class TestNumbers:
    WHOLE = ("--set", "stages.0.column_sparsity=0.99")

    def test_a_width_that_would_be_empty(self, capsys):
        exit_code, line = refused(capsys, *self.WHOLE)
        assert exit_code == 4
        assert line.startswith("layer.0.heads: column_sparsity 0.99 leaves none of its 4 units; lower it, or set min_")
        exit_code, line = refused(capsys, *self.WHOLE, "--set", "stages.0.min_units=0")
        assert exit_code == 4
        assert line.startswith("layer.0.heads: none of its 4 units is live; lower the sparsity, or set allow_empty: ")

    def test_a_loss_that_diverges_leaves_the_stages_before_it(self, capsys, recipe):
        change(recipe, "stage: shrink", "stage: finetune\n    retrain: {steps: 2, lr: 1.0e+30}")
        before = contents(RUN / "00-project")
        exit_code, [line] = fails(capsys)
        assert exit_code == 4
        assert line.startswith("[2/2] finetune: the loss diverged to ")
        assert line.endswith("; lower 'lr' and run again: finished stages and rounds are kept")
        assert contents(RUN / "00-project") == before

    def test_weights_that_the_last_step_spoils(self, capsys):
        exit_code, [line] = fails(capsys, "--set", "stages.0.retrain.lr=1e39", "--set", "stages.0.retrain.steps=1")
        assert (exit_code, "weights became NaN or infinite at step 1 of 1" in line) == (4, True)


@pytest.fixture
def trained(monkeypatch):
    """Collect the labels of the phases that are trained; those in `broken` see their loss become NaN, or Ctrl-C."""

    class Trained(list):
        broken = {}  # noqa: RUF012

    trained, see = Trained(), phase._Watch.see

    def watch(self, step, loss):
        label = self.phase.label.rpartition(" ")[2]
        if not trained or trained[-1] != label:
            trained.append(label)
        return see(self, step, trained.broken.get(label, lambda loss: loss)(loss))

    monkeypatch.setattr(phase._Watch, "see", watch)
    return trained


@pytest.mark.usefixtures("recipe")
class TestRounds:
    LOWER = ("--set", "stages.0.retrain.lr=1e-4")

    def test_a_divergence_keeps_the_last_good_round_for_a_lower_lr(self, capsys, trained):
        trained.broken = {"2/2": lambda loss: loss * torch.nan}
        assert fails(capsys)[0] == 4
        good = contents(pattern="round-1.safetensors")
        assert len(good) == 1
        assert fails(capsys)[0] == 4  # the same again diverges again, and harms nothing
        assert contents(pattern="round-1.safetensors") == good
        trained.broken = {}
        assert compress(capsys, *self.LOWER)[0] == 0
        assert trained == ["1/2", "2/2"]
        lines = [json.loads(line) for line in (RUN / "00-project/rounds.jsonl").read_text().splitlines()]
        assert [line["lr"] for line in lines] == [1e-3, 1e-4]

    def test_another_sparsity_starts_the_rounds_anew(self, capsys, trained):
        trained.broken = {"2/2": lambda loss: loss * torch.nan}
        fails(capsys)
        trained.broken = {}
        assert compress(capsys, *self.LOWER, "--set", "stages.0.column_sparsity=0.4")[0] == 0
        assert trained == ["1/2", "2/2", "1/2", "2/2"]

    def test_ctrl_c_keeps_the_rounds_of_this_recipe_only(self, capsys, trained):
        trained.broken = {"2/2": lambda loss: signal.raise_signal(signal.SIGINT)}
        exit_code, [line] = fails(capsys)
        assert (exit_code, line) == (130, "interrupted; resume with: compress --recipe my.yaml --json")
        trained.broken = {}
        assert compress(capsys)[0] == 0
        assert trained == ["1/2", "2/2"]

        shutil.rmtree(RUN)
        trained.broken = {"2/2": lambda loss: signal.raise_signal(signal.SIGINT)}
        fails(capsys)
        del trained[:]
        trained.broken = {}
        assert compress(capsys, *self.LOWER)[0] == 0
        assert trained == ["1/2", "2/2"]


@pytest.mark.usefixtures("earlier")
class TestRunDirectory:
    def test_read_only(self, capsys):
        RUN.chmod(0o555)
        said = "runs/my: cannot be written: it is read-only; choose another --run-dir"
        assert refused(capsys) == (8, said)

    @pytest.mark.parametrize("path", ["/proc/run", "/dev/null/run", "my.yaml", "my.yaml/run", "x" * 300])
    def test_a_place_where_nothing_can_be_made(self, capsys, path):
        exit_code, line = refused(capsys, "--run-dir", path)
        assert exit_code == 8
        assert line.startswith(f"{path}: cannot be written: ")
        assert line.endswith("; choose another --run-dir")

    def test_a_second_process(self, capsys):
        with rundir.open_run(RUN):  # another handle on the lock is refused as another process would be
            exit_code, line = refused(capsys)
        assert exit_code == 8
        assert re.fullmatch(r"runs/my: in use by process \d+; wait for it, or choose another --run-dir", line)
        assert compress(capsys)[0] == 0

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.ENOSPC, "No space left on device"),
            OSError(errno.EDQUOT, "Disk quota exceeded"),
            SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        ],
    )
    def test_a_full_disk_in_the_words_of_each_library(self, error):
        with pytest.raises(RunDirError, match=r"^there: the disk is full; free some space"), explained(Path("there")):
            raise error

    def test_an_edited_stage_keeps_those_before_it(self, capsys):
        before = contents(RUN / "00-project", "*.[js]*")  # but for the card, which shows the whole run
        exit_code, _, shown = compress(capsys, "--set", "stages.1.multiple_of=2")
        assert exit_code == 0
        assert (
            "[1/2] project            done before\n[2/2] shrink             settings changed, running again\n" in shown
        )
        assert contents(RUN / "00-project", "*.[js]*") == before != {}

    def test_another_recipe_takes_over_and_says_what_goes(self, capsys, recipe):
        (RUN / "notes.txt").write_text("not ours")
        for name in ("bench.json", "bench-plan.json", "bench-key.json"):
            (RUN / name).write_text("{}")  # measured of files that are gone
        change(recipe, "stage: shrink", "stage: finetune\n    retrain: {steps: 1}")
        exit_code, report, shown = compress(capsys, "--set", "seed=1")
        assert exit_code == 0
        assert "01-shrink                from an earlier version of the recipe, removed\n" in shown
        assert "[1/2] project            settings changed, running again\n" in shown
        assert [stage["name"] for stage in report["stages"]] == ["project", "finetune"]
        assert not report["is_measured"]
        assert (RUN / "notes.txt").read_text() == "not ours"


@pytest.fixture
def disk(recipe, monkeypatch):
    """Put `runs` on a disk of its own, and give the function that sets its size in KiB.

    A run does not look before it begins: other programs may fill the disk meanwhile.
    """
    monkeypatch.setattr(needs, "require_disk", lambda *_: None)
    Path("runs").mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", "runs"], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield lambda n_kib: subprocess.run(["mount", "-o", f"remount,size={n_kib}k", "runs"], check=True)
    subprocess.run(["umount", "runs"], check=True)


def fills(capsys):
    """Run the recipe on a disk that may be too small; return whether it was, and check that finished steps stay."""
    done = {file: kept for step in RUN.glob("*/done.json") for file, kept in contents(step.parent).items()}
    exit_code, answer, _ = compress(capsys)
    if exit_code:
        assert (exit_code, ": the disk is full; free some space" in answer["error"]) == (8, True)
        assert contents().items() >= done.items()
    assert list(RUN.rglob(".*")) == []
    return exit_code != 0


def test_a_disk_that_is_too_small_is_refused_before_any_work(capsys, disk, monkeypatch):
    monkeypatch.setattr(needs, "require_disk", LOOK)
    disk(40)
    exit_code, answer, _ = compress(capsys)
    assert exit_code == 8
    assert re.search(r"runs/my: the run takes about 0\.\d MB, the disk has 0\.0 MB free; free some", answer["error"])


def test_a_disk_that_is_full_at_any_file(capsys, disk, finished):
    n_kib = 4
    while fills(capsys):
        disk(n_kib := n_kib + 12)
    assert n_kib > 100
    weights = "01-shrink/model/model.safetensors"
    assert (RUN / weights).read_bytes() == (finished / weights).read_bytes()


@pytest.fixture
def exporting(recipe, monkeypatch):
    """Let the recipe go on to ONNX, and hurry the bench."""
    change(recipe, "bench:", "  - stage: export\n  - stage: quantize\nbench:")
    measure_briefly(monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("exporting")
class TestExport:
    def test_a_missed_gate_and_logits_that_differ(self, capsys):
        exit_code, report, shown = compress(capsys, "--set", "gates.max_size_ratio=0.01")
        assert exit_code == report["exit_code"] == 6
        said = r"compress: gates\.max_size_ratio: limit 0\.01 missed, got .* \(.*\); change the stages, or the limit\n$"
        assert re.search(said, shown)
        written = json.loads((RUN / "report/report.json").read_text())
        assert [gate["met"] for gate in written["gates"]] == [False]
        assert report["variants"] == written["variants"]

        before = {**contents(RUN / "00-project"), **contents(RUN / "01-shrink"), **contents(RUN / "report")}
        exit_code, [line] = fails(capsys, "--set", "stages.2.parity_atol=1e-30")
        assert exit_code == 5
        assert line.startswith("export: logits of onnxruntime and torch differ by ")
        assert contents().items() >= before.items()

    def test_an_empty_width_that_is_allowed(self, capsys):
        settings = ("stages.0.column_sparsity=0.99", "stages.0.min_units=0", "stages.1.allow_empty=true")
        exit_code, report, _ = compress(capsys, *(word for each in settings for word in ("--set", each)))
        assert exit_code == 0
        cut = [width for width in report["widths"] if width["name"].endswith((".heads", ".ffn"))]
        assert {width["n_units"] for width in cut} == {0}
        assert {variant["n_examples"] for variant in report["variants"]} == {8}

    @pytest.mark.parametrize("n_kib", [190, 260])  # too small for the original's file, and for the result's
    def test_a_disk_that_fills_up(self, capsys, disk, n_kib):
        disk(n_kib)
        assert fills(capsys)
