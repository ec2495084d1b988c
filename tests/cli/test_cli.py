# ruff: noqa: RUF001 - reports write the sign for times
"""The `compress` command: what reaches stdout, in which words it fails, and with which exit code."""

import errno
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import pytest
from fake_run import board, finished_run
from onnx_files import N_WORDS, classifier

import compressor
from compressor import cli, errors
from compressor.bench.plan import read_plan
from compressor.cli.call import only_answers_on_stdout
from compressor.measure import launch
from compressor.recipe import packaged
from compressor.report import measured

DOCS = Path(__file__).parents[2] / "docs"


def variant(name, *, accuracy, p50_ms):
    point = {"batch_size": 1, "length": 32, "threads": 1, "n_flops": 10, "p90_ms": p50_ms, "p99_ms": p50_ms}
    energy = {"kind": "unavailable", "net_j": None, "reason": "no meter"}
    return {
        "name": name, "kind": "original" if "original" in name else "result", "file": f"{name}.onnx",
        "quantized": "int8" in name, "accuracy": accuracy, "n_examples": 872, "split": "validation",
        "n_params": 1000, "size_bytes": 2**20, "load_ms": 1.0, "peak_memory_bytes": 2**20,
        "bench": [{**point, "p50_ms": p50_ms, "throughput_per_s": 1e3 / p50_ms, "energy": energy}],
    }  # fmt: skip


MEASURED = measured.completed(
    {
        "variants": [
            variant("original fp32", accuracy=0.89, p50_ms=10.0),
            variant("compressed fp32", accuracy=0.87, p50_ms=2.0),
        ]
    }
)
REPORT = {
    "is_measured": True,
    "environment": {**MEASURED["environment"], "measured": MEASURED["environment"]},
    "stages": [{"name": "export", "folder": "00-export"}],
    "gates": [{"name": "max_accuracy_drop", "limit": 0.01, "value": 0.02, "met": False, "note": ""}],
    "variants": MEASURED["variants"],
}
PLAN = {
    "model": {"family": "vit", "n_params": 12345, "is_trained": False, "padding_gap": None},
    "data": {"train": 1408, "validation": 360},
    "dataset": {
        "columns": ["image"],
        "label": "label",
        "left_out": {},
        "missing": "null",
        "splits": {"train": {"n_rows": 1437, "n_unlabelled": 0, "n_duplicates": 0, "classes": {"0": 700, "1": 737}}},
        "n_shared": 0,
    },
    "stages": [
        {
            "stage": "shrink",
            "n_params": 6789,
            "widths": {"layer.0.ffn": 32, "layer.1.ffn": 48},
            "fixed_widths": [],
            "memory_bytes": 10**6,
            "disk_bytes": 10**6,
            "temporary_bytes": 0,
        }
    ],
    "needs": {"memory_bytes": 12 * 10**8, "disk_bytes": 3 * 10**9},
}


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def fake(monkeypatch):
    """Put a function, or an error to raise, in place of the work."""

    def put(home, name, result):
        def work(*arguments, **options):
            print("a library talks")  # noqa: T201
            if isinstance(result, BaseException):
                raise result
            return result

        monkeypatch.setattr(home, name, work)

    return put


def fails(capsys, *arguments):
    """Run a command that fails; return its exit code and its error lines, and check the JSON form of both."""
    assert cli.main(arguments) != 0
    human = capsys.readouterr()
    exit_code = cli.main([*arguments, "--json"])
    machine = capsys.readouterr()
    assert machine.out.count("\n") == 1
    answer = json.loads(machine.out)
    assert answer["exit_code"] == exit_code
    said = [line for line in human.err.splitlines() if line.startswith("compress: ")]
    assert len(said) == len(answer["error"].splitlines())
    return exit_code, said


class TestAnswers:
    def test_a_run_shows_before_and_after(self, capsys, fake):
        fake(compressor, "run", REPORT)
        assert cli.main(["--recipe", "my.yaml"]) == 0
        shown = capsys.readouterr()
        assert shown.err == "a library talks\n"
        assert "original fp32" in shown.out
        assert "5.0× faster" in shown.out
        assert "gate missed: accuracy loses 2.00 points, may lose 1" in shown.out
        assert shown.out.endswith("report: runs/my/report/index.html\n")

    def test_flags_become_one_call(self, capsys, monkeypatch):
        calls = []

        def run(*given):
            calls.append(given)
            return REPORT

        monkeypatch.setattr(compressor, "run", run)
        cli.main(["--recipe", "a/my.yaml"])
        cli.main(["--recipe", "my.yaml", "--set", "seed=1", "--set", "a.b=[c]", "--run-dir", "there"])
        assert calls == [
            ("a/my.yaml", Path("runs/my"), ()),
            ("my.yaml", Path("there"), ("seed=1", "a.b=[c]")),
        ]

    def test_check_shows_the_plan(self, capsys, fake):
        fake(compressor, "check", PLAN)
        assert cli.main(["check", "my.yaml"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[:2] == ["model: vit, 12,345 parameters, to be trained", "data: 1,408 train, 360 validation"]
        assert ["shrink", "6,789", "2", "x", "ffn", "32-48"] in [line.split() for line in lines]
        assert lines[-1] == "needs about 1.2 GB of memory and 3.0 GB in the run directory"

    def test_recipes_lists_what_is_packaged(self, capsys):
        assert cli.main(["recipes"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == list(packaged.summaries())

    def test_schema_is_a_json_schema(self, capsys):
        assert cli.main(["schema"]) == 0
        assert set(json.loads(capsys.readouterr().out)["properties"]) >= {"seed", "model", "data", "stages"}

    def test_version(self, capsys):
        assert cli.main(["--version"]) == 0
        assert capsys.readouterr().out == f"compress {compressor.__version__}\n"

    @pytest.mark.parametrize(
        "arguments",
        [["--recipe", "my.yaml"], ["check", "my.yaml"], ["recipes"], ["schema"], ["--version"], ["bench", "a.onnx"]],
    )
    def test_json_is_one_line_whatever_libraries_print(self, capsys, fake, arguments):
        fake(compressor, "run", REPORT)
        fake(compressor, "check", PLAN)
        classifier(Path("a.onnx"))
        fake(launch, "measure", {"variants": REPORT["variants"]})
        assert cli.main([*arguments, "--json"]) == 0
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        assert isinstance(json.loads(out), dict)


class TestReport:
    @pytest.fixture
    def run(self, tmp_path):
        cpu = {"model": "a cpu", "flags": []}
        environment = {"versions": {}, "cpu": cpu, "n_cores": 2, "seed": 0, "git_commit": None, "date": ""}
        facts = {"format": 1, "environment": environment, "recipe_file": "my.yaml", "source": "folder"}
        facts |= {"version": "0.1.0", "recipe_digest": "0"}
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "run.json").write_text(json.dumps(facts))
        (tmp_path / "run" / "recipe.yaml").write_text(
            "model: {task: text-classification, checkpoint: a}\ndata: {dataset: b}\nstages: [{stage: export}]\n"
        )
        return tmp_path / "run"

    def test_it_is_written_again(self, capsys, run):
        assert cli.main(["report", "run"]) == 0
        assert "run/report/index.html" in capsys.readouterr().out
        assert (run / "report" / "report.json").exists()

    def test_a_folder_without_a_run_is_refused(self, capsys):
        exit_code, [line] = fails(capsys, "report", "nowhere")
        assert exit_code == 3
        assert line == "compress: nowhere: no run there, run.json or recipe.yaml is missing; give the folder of a run"

    def test_what_a_board_measured_goes_beside(self, capsys, tmp_path):
        run = finished_run(tmp_path)
        (tmp_path / "pi.json").write_text(json.dumps(board()))
        assert cli.main(["report", "sst2", "--bench", "pi.json"]) == 0
        assert capsys.readouterr().out.endswith("report: sst2/report/pi/index.html\n")
        assert (run / "report/pi/index.html").exists()
        assert not (run / "report/index.html").exists()

    def test_a_board_that_measured_something_else(self, capsys, run):
        exit_code, [line] = fails(capsys, "report", "run", "--bench", "no.json")
        assert exit_code == 3
        assert line.startswith("compress: run: not finished, so no.json is of other files; finish the run first")

    def test_what_must_start_at_once_loads_no_torch(self, run):
        program = (
            "import sys; from compressor.cli import main\n"
            "for command in ('--help', '--version', 'recipes', 'report run', 'bench run', 'nonsense'):\n"
            "    main(command.split())\n"
            "print(sorted({'torch', 'transformers', 'datasets', 'pydantic'} & set(sys.modules)), file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stderr.splitlines()[-1] == "[]"


class TestBench:
    @pytest.fixture
    def plans(self, monkeypatch, tmp_path):
        """Collect the plans that would be measured, each as the bench itself reads it."""
        plans = []

        def measure(plan):
            (tmp_path / "plan.json").write_text(json.dumps(plan))
            plans.append(read_plan(tmp_path / "plan.json"))
            return {"format": 1, "environment": {}, "variants": REPORT["variants"]}

        monkeypatch.setattr(launch, "measure", measure)
        return plans

    def test_files(self, capsys, plans, tmp_path):
        for name in ("old.onnx", "new.onnx"):
            classifier(Path(name))
        options = ["--length", "64", "--length", "16", "--threads", "2", "--seconds", "0.5"]
        assert cli.main(["bench", "old.onnx", "new.onnx", *options]) == 0
        [plan] = plans
        assert [(each["name"], each["kind"], each["file"]) for each in plan.variants] == [
            ("old.onnx", "original", str(tmp_path / "old.onnx")),
            ("new.onnx", "result", str(tmp_path / "new.onnx")),
        ]
        assert (plan.lengths, plan.threads, plan.seconds, plan.batch_sizes) == ([64, 16], [2], 0.5, [1])
        assert plan.inputs == {"input_ids": {"below": N_WORDS}}
        assert plan.variants[0]["n_params"] == N_WORDS * 4 + 4 * 2
        assert plan.variants[0]["n_flops"] == {"1x64": 16, "1x16": 16}
        shape, header, *rows = capsys.readouterr().out.partition("\n\n")[0].splitlines()
        assert shape == "1×32, SingleStream"
        assert header.split()[:3] == ["MiB", "load", "ms"]
        assert [row.split() for row in rows] == [
            ["original", "fp32", "1.00", "1.00", "1.00", "10.0", "10.0", "10.0", "100", "unavailable"],
            ["compressed", "fp32", "1.00", "1.00", "1.00", "2.00", "2.00", "2.00", "500", "unavailable"],
            ["ratio", "to", "the", "first", "1.00", "1.00", "1.00", "0.200", "0.200", "0.200", "5.00"],
        ]

    def test_a_run_is_measured_by_its_own_plan(self, plans, tmp_path):
        Path("run").mkdir()
        Path("run", "model.onnx").touch()
        known = {"name": "compressed fp32", "kind": "result", "file": "model.onnx", "accuracy": 0.9}
        plan = {"format": 1, "variants": [known], "lengths": [8], "threads": [4]}
        Path("run", "bench-plan.json").write_text(json.dumps(plan))
        assert cli.main(["bench", "run", "--threads", "1"]) == 0
        assert plans[0].variants == [{**known, "file": str(tmp_path / "run" / "model.onnx")}]
        assert (plans[0].lengths, plans[0].threads) == ([8], [1])

    def test_a_run_that_never_got_there(self, capsys):
        Path("run").mkdir()
        exit_code, [line] = fails(capsys, "bench", "run")
        assert exit_code == 3
        assert line == "compress: run: no bench-plan.json there; give the folder of a finished run, or ONNX files"

    def test_a_missing_file(self, capsys):
        exit_code, [line] = fails(capsys, "bench", "no.onnx")
        assert (exit_code, line) == (3, "compress: no.onnx: no such file")


class TestErrors:
    @pytest.mark.parametrize(
        ("kind", "exit_code"),
        [
            (errors.RecipeError, 2), (errors.InputError, 3), (errors.NumericsError, 4), (errors.ParityError, 5),
            (errors.GateMissed, 6), (errors.Inconclusive, 7), (errors.RunDirError, 8),
        ],
    )  # fmt: skip
    def test_each_class_has_its_code_and_each_problem_its_line(self, capsys, fake, kind, exit_code):
        fake(compressor, "run", kind("here: wrong; mend it\nthere: wrong; mend it"))
        lines = ["compress: here: wrong; mend it", "compress: there: wrong; mend it"]
        assert fails(capsys, "--recipe", "my.yaml") == (exit_code, lines)

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ([], "give a recipe or a command, such as compress --recipe digits_l1inf.yaml; see compress --help"),
            (["--recip", "x"], "no such option '--recip'"),
            (["--recipe"], "option '--recipe' requires an argument; see compress --help"),
            (["chekc"], "no such command 'chekc'"),
            (["check"], "missing argument 'RECIPE'; see compress --help"),
            (["bench"], "missing argument"),
            (["bench", "x.onnx", "--length", "0"], "invalid value for '--length': 0 is not in the range 1<=x<=1048576"),
            (
                ["--recipe", "x", "check", "y"],
                "--recipe, --set and --run-dir cannot precede a command; put --set after it",
            ),
            (["check", "no.yaml"], "no.yaml: no such file or packaged recipe; choose from "),
            (["--recipe", "digit_l1inf.yaml"], "digit_l1inf.yaml: no such file or packaged recipe; did you mean "),
        ],
    )
    def test_a_wrong_command_line(self, capsys, arguments, expected):
        exit_code, [line] = fails(capsys, *arguments)
        assert exit_code == 2
        assert line.startswith(f"compress: {expected}")

    def test_problems_of_a_recipe_and_an_override(self, capsys):
        Path("my.yaml").write_text("seed: x\nmodel: {checkpoint: a, task: text-classification}\ndata: {dataset: a}\n")
        exit_code, lines = fails(capsys, "--recipe", "my.yaml", "--set", "sede=1")
        assert exit_code == 2
        assert lines == [
            "compress: my.yaml:1: seed: should be a valid integer, got 'x'",
            "compress: my.yaml:1: stages: required key is missing; add it",
            "compress: --set sede=1: sede: unknown key; did you mean 'seed'?",
        ]
        assert not Path("runs").exists()

    def test_a_missed_gate_still_shows_the_report(self, capsys, fake):
        fake(compressor, "run", errors.GateMissed("gates.max_accuracy_drop: limit 0.01, got 0.02"))
        Path("there/report").mkdir(parents=True)
        Path("there/report/report.json").write_text(json.dumps(REPORT))
        assert cli.main(["--recipe", "my.yaml", "--run-dir", "there"]) == 6
        shown = capsys.readouterr()
        assert "5.0× faster" in shown.out
        assert "compress: gates.max_accuracy_drop: limit 0.01, got 0.02" in shown.err
        assert cli.main(["--recipe", "my.yaml", "--run-dir", "there", "--json"]) == 6
        answer = json.loads(capsys.readouterr().out)
        assert answer["variants"] == REPORT["variants"]
        assert answer["exit_code"] == 6

    @pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), click.Abort()])
    def test_an_interrupted_run_prints_the_command_that_resumes(self, capsys, fake, interrupt):
        fake(compressor, "run", interrupt)
        assert cli.main(["--recipe", "my.yaml", "--set", "bench.threads=[1, 4]"]) == 130
        resume = "compress --recipe my.yaml --set 'bench.threads=[1, 4]'"
        assert capsys.readouterr().err.endswith(f"compress: interrupted; resume with: {resume}\n")

    def test_an_interrupted_check_has_nothing_to_resume(self, capsys, fake):
        fake(compressor, "check", KeyboardInterrupt())
        assert fails(capsys, "check", "my.yaml") == (130, ["compress: interrupted"])

    @pytest.mark.parametrize(
        ("number", "what"), [(errno.ENOSPC, "No space left on device"), (errno.EROFS, "Read-only file system")]
    )
    def test_a_full_or_read_only_disk(self, capsys, fake, number, what):
        fake(compressor, "run", OSError(number, what, "there/model.onnx"))
        line = f"compress: there/model.onnx: {what}; free some space, or choose another place with --run-dir"
        assert fails(capsys, "--recipe", "my.yaml") == (8, [line])

    def test_a_bug_leaves_its_traceback_in_the_run(self, capsys, fake):
        fake(compressor, "run", ZeroDivisionError("division by zero\nand more"))
        Path("runs/my").mkdir(parents=True)
        file = Path("runs/my/traceback.txt")
        line = f"compress: ZeroDivisionError: division by zero; a bug of ours, its traceback is in {file}"
        assert fails(capsys, "--recipe", "my.yaml") == (1, [line])
        assert "Traceback" in file.read_text()

    def test_a_bug_without_a_run_leaves_it_elsewhere(self, capsys, fake):
        fake(compressor, "check", OSError(errno.EIO, "bad disk"))
        exit_code, [line] = fails(capsys, "check", "my.yaml")
        assert exit_code == 1
        assert "bad disk" in Path(line.rpartition(" ")[2]).read_text()


class TestHelp:
    @pytest.mark.parametrize("command", ["", *cli.cli.commands])
    def test_every_command_has_help_examples_and_a_place_in_the_guide(self, capsys, command):
        assert cli.main([*command.split(), "--help"]) == 0
        shown = capsys.readouterr().out
        assert f"Usage: compress {command}" in shown
        assert "Examples:\n    compress " in shown
        guide = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
        assert f"compress {command}" in guide
        parameters = (cli.cli.commands[command] if command else cli.cli).params
        options = [name for each in parameters if isinstance(each, click.Option) for name in each.opts]
        assert [name for name in options if f"`{name}" not in guide and f"compress {name}" not in guide] == []

    def test_every_exit_code_is_in_the_guide(self):
        guide = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
        codes = {kind.exit_code for kind in errors.CompressorError.__subclasses__()} | {0, 1, 130}
        assert [code for code in sorted(codes) if f"\n| {code} |" not in guide] == []


class TestPython:
    def test_the_public_surface_is_written_out(self):
        assert all(getattr(compressor, name) is not None for name in compressor.__all__)
        with pytest.raises(AttributeError, match="no attribute 'runn'"):
            _ = compressor.runn

    def test_importing_it_loads_neither_torch_nor_pydantic(self):
        program = "import compressor, sys; print({'torch', 'pydantic'} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "set()\n"

    def test_run_takes_a_path_a_dictionary_or_a_recipe(self, monkeypatch):
        pipeline = importlib.import_module("compressor.pipeline")
        calls = []

        def run(*given, recipe_file):
            calls.append((*given, recipe_file))
            return REPORT

        monkeypatch.setattr(pipeline, "run", run)
        name = next(iter(packaged.summaries()))
        recipe = compressor.load_recipe(name)
        assert compressor.run(name) == REPORT
        compressor.run(recipe, "there")
        compressor.run(recipe.model_dump(), Path("there"), ["seed=7"])
        assert calls[0] == (recipe, Path("runs", Path(name).stem), name)
        assert calls[1] == (recipe, Path("there"), "")
        assert calls[2] == (recipe.model_copy(update={"seed": 7}), Path("there"), "")
        with pytest.raises(ValueError, match="run_dir is missing; give one"):
            compressor.run(recipe)

    def test_check_takes_them_too(self, monkeypatch):
        pipeline = importlib.import_module("compressor.pipeline")
        monkeypatch.setattr(pipeline, "check", lambda recipe: {"seed": recipe.seed})
        assert compressor.check(next(iter(packaged.summaries())), ["seed=7"]) == {"seed": 7}


class TestOdd:
    def test_what_a_library_in_c_prints_is_no_answer(self, capfd):
        with only_answers_on_stdout():
            os.write(1, b"from C\n")
            print("from Python")  # noqa: T201
        os.write(1, b"answer\n")
        shown = capfd.readouterr()
        assert shown.out == "answer\n"
        assert sorted(shown.err.splitlines()) == ["from C", "from Python"]

    @pytest.mark.parametrize("words", [["check"], ["inspect"], ["report"], ["bench"], ["--run-dir"]])
    def test_a_name_that_is_too_long_is_one_line(self, capsys, tmp_path, monkeypatch, words):
        monkeypatch.chdir(tmp_path)
        recipe = ["--recipe", "digits_l1inf.yaml"] if words == ["--run-dir"] else []
        assert cli.main([*recipe, *words, "x" * 300]) in (3, 8)
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"compress: {'x' * 300}")
        assert "File name too long" in line

    def test_a_name_that_is_no_text_is_shown(self, capsys):
        assert cli.main(["inspect", "\udcff.onnx"]) == 3
        assert capsys.readouterr().err.startswith("compress: \\udcff.onnx: neither a folder nor a file")

    @pytest.mark.parametrize(
        ("option", "value"),
        [("--threads", "99999"), ("--length", "1000000000"), ("--batch-size", "1000000000")],
    )
    def test_numbers_without_end_are_refused(self, capsys, option, value):
        assert cli.main(["bench", "a.onnx", option, value]) == 2
        assert f"compress: invalid value for '{option}': {value} is not in the range 1<=x<=" in capsys.readouterr().err

    def test_an_energy_model_without_end(self, capsys, tmp_path):
        classifier(tmp_path / "a.onnx")
        assert cli.main(["bench", str(tmp_path / "a.onnx"), "--energy-model", "/dev/zero"]) == 2
        assert "/dev/zero: not a readable energy profile: it is no regular file" in capsys.readouterr().err
