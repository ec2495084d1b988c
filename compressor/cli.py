"""The `compress` command: flags in, one call, exit code out."""

import contextlib
import errno
import json
import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import click

import compressor
from compressor import cookbook
from compressor.amounts import percent, seconds
from compressor.bench.errors import BenchError
from compressor.errors import CompressorError, GateMissed, Inconclusive, InputError, RecipeError, RunDirError
from compressor.rundir import RunDir, read_json

FULL_OR_READ_ONLY = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass
class Call:
    """What every command and the error handling after it must know."""

    arguments: Sequence[str]
    run_dir: Path | None = None

    @property
    def is_json(self) -> bool:
        """Whether stdout takes one line of JSON; asked before click has parsed anything, for its errors too."""
        return "--json" in self.arguments

    def answer(self, data: Any, text: str) -> None:
        """Write the answer of a command, and nothing else, to stdout."""
        click.echo(json.dumps(data) if self.is_json else text)


pass_call = click.make_pass_decorator(Call)
json_option = click.option("--json", is_flag=True, expose_value=False, help="Print exactly one line of JSON on stdout.")
set_option = click.option(
    "settings",
    "--set",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key: stages.0.retrain.steps=5. Repeatable.",
)


def _print_version(context: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    if is_wanted:
        context.obj.answer({"version": compressor.__version__}, f"compress {compressor.__version__}")
        context.exit()


def _examples(*lines: str) -> str:
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


@click.group(
    invoke_without_command=True,
    epilog=_examples(
        "compress --recipe digits_l1inf.yaml",
        "compress --recipe sst2_l1inf.yaml --set seed=1 --run-dir runs/seed-1",
        "compress check sst2_l1inf.yaml",
    ),
)
@click.option("--recipe", metavar="FILE", help="Recipe to run: a path, or the name of a packaged recipe.")
@set_option
@click.option("--run-dir", type=click.Path(path_type=Path), metavar="DIR", help="Default: runs/<name of the recipe>.")
@json_option
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print it.")
@click.pass_context
def cli(context: click.Context, recipe: str | None, settings: tuple[str, ...], run_dir: Path | None) -> None:
    """Compress a trained model into a smaller, faster, verified ONNX file, as a recipe says.

    The same command again resumes a run that was interrupted.
    """
    if context.invoked_subcommand is not None:
        if recipe or settings or run_dir:
            raise click.UsageError("--recipe, --set and --run-dir stand before no command; put --set after it")
        return
    if recipe is None:
        raise click.UsageError("give a recipe or a command, such as compress --recipe digits_l1inf.yaml")
    call: Call = context.obj
    call.run_dir = run_dir or cookbook.run_dir(recipe)
    with _only_answers_on_stdout():
        report = compressor.run(recipe, call.run_dir, settings)
    _answer_report(call, report)


@cli.command(epilog=_examples("compress check digits_l1inf.yaml", "compress check my.yaml --set seed=1"))
@click.argument("recipe")
@set_option
@json_option
@pass_call
def check(call: Call, recipe: str, settings: tuple[str, ...]) -> None:
    """Resolve a recipe, model and data included, and print its plan.

    Nothing is trained, nothing is written.
    """
    from compressor.report import text

    with _only_answers_on_stdout():
        plan = compressor.check(recipe, settings)
    call.answer(plan, text.plan(plan))


@cli.command(
    epilog=_examples("compress bench runs/digits_l1inf", "compress bench old.onnx new.onnx --length 64 --json")
)
@click.argument("targets", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN | FILE.onnx ...")
@click.option("batch_sizes", "--batch-size", multiple=True, type=click.IntRange(1), help="Default: 1. Repeatable.")
@click.option("lengths", "--length", multiple=True, type=click.IntRange(1), help="Default: 32 and 128. Repeatable.")
@click.option("--threads", multiple=True, type=click.IntRange(1), help="Default: 1. Repeatable.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="For all files at one shape. Default: 10.")
@click.option("--meter", help="Energy meter; auto takes the first that works here. Default: auto.")
@click.option(
    "--energy-model",
    type=click.Path(path_type=Path),
    metavar="PROFILE",
    help="Estimate joules from it where no meter works.",
)
@json_option
@pass_call
def bench(call: Call, /, targets: tuple[Path, ...], energy_model: Path | None, **options: Any) -> None:
    """Measure ONNX files side by side, or again those of a run."""
    from compressor import launch
    from compressor.report import text

    plan = _plan_of_run(targets[0]) if len(targets) == 1 and targets[0].is_dir() else _plan_of_files(targets)
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items() if value}
    if energy_model:
        given["energy_model"] = str(energy_model.resolve())
    with _only_answers_on_stdout():
        result = launch.measure(plan | given)
    call.answer(result, text.bench(result["variants"]))


@cli.command(
    "calibrate-energy",
    epilog=_examples(
        "compress bench a.onnx b.onnx c.onnx d.onnx e.onnx --json > board.json   (on the metered board)",
        "compress calibrate-energy board.json --out board.yaml",
        "compress bench new.onnx --energy-model board.yaml                       (anywhere)",
    ),
)
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="BENCH.json ...")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="PROFILE", help="Where to write it.")
@json_option
@pass_call
def calibrate_energy(call: Call, results: tuple[Path, ...], out: Path) -> None:
    """Fit an energy profile to what the bench measured on a board with a meter.

    The error is that on files left out of the fit, each in its turn.
    """
    from compressor.bench import estimate

    profile = estimate.calibrated([estimate.read_result(file) for file in results])
    estimate.write_profile(profile, out)
    error = f"{profile.active_w:.3g} W and {profile.joules_per_byte:.3g} J/byte, error {profile.error_fraction:.1%}"
    call.answer(asdict(profile), f"{out}: {error} on {profile.n_files} files")


@cli.command(
    "gate",
    epilog=_examples(
        "compress gate new.onnx --baseline old.onnx",
        "compress gate new.onnx --baseline old.onnx --budget 60s --max-bytes 0% --junit gate.xml",
        "compress gate new.onnx --self-test",
    ),
)
@click.argument("new", type=click.Path(path_type=Path), metavar="NEW.onnx")
@click.option("--baseline", type=click.Path(path_type=Path), metavar="OLD.onnx", help="File to compare with.")
@click.option("--margin", type=percent, default="2%", help="Slowdown that still passes. Default: 2%.")
@click.option("budget_s", "--budget", type=seconds, default="10s", help="For measuring all shapes. Default: 10s.")
@click.option("--inconclusive", type=click.Choice(["pass", "fail"]), help="What no answer counts as. Default: fail.")
@click.option("batch_sizes", "--batch-size", multiple=True, type=click.IntRange(1), help="Default: 1. Repeatable.")
@click.option("lengths", "--length", multiple=True, type=click.IntRange(1), help="Default: 32 and 128. Repeatable.")
@click.option("--threads", multiple=True, type=click.IntRange(1), help="Default: 1. Repeatable.")
@click.option("bytes", "--max-bytes", type=percent, help="Limit on the growth of the file.")
@click.option("parameters", "--max-parameters", type=percent, help="Limit on the growth of its parameters.")
@click.option("memory", "--max-memory", type=percent, help="Limit on the growth of its peak memory.")
@click.option("operations", "--max-new-operations", type=click.IntRange(0), help="Limit on operations added.")
@click.option("outputs", "--max-difference", type=click.FloatRange(0), help="Limit on the outputs' difference.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write a test report for CI there.")
@click.option(
    "--markdown", type=click.Path(path_type=Path), metavar="FILE", help="Add a table for a job summary to it."
)
@click.option("is_self_test", "--self-test", is_flag=True, help="Gate the file against itself, ten times.")
@json_option
@pass_call
def gate_(
    call: Call,
    /,
    new: Path,
    baseline: Path | None,
    margin: float,
    budget_s: float,
    inconclusive: Literal["pass", "fail"] | None,
    junit: Path | None,
    markdown: Path | None,
    is_self_test: bool,
    batch_sizes: tuple[int, ...],
    lengths: tuple[int, ...],
    threads: tuple[int, ...],
    **limits: float | None,
) -> int:
    """Tell whether an ONNX file is slower than a baseline, measured side by side.

    Exit code 6 is a regression, 7 no answer within the budget.
    """
    from compressor import regression
    from compressor.report import checks

    if is_self_test and {baseline, inconclusive, junit, markdown, *limits.values()} != {None}:
        raise click.UsageError("--self-test stands alone with --margin, --budget and the shapes")
    shapes = {"batch_sizes": batch_sizes, "lengths": lengths, "threads": threads}
    settings = {"margin": margin, "budget_s": budget_s} | {key: list(given) for key, given in shapes.items() if given}
    with _only_answers_on_stdout():
        if is_self_test:
            result, show = regression.self_test(new, settings), checks.self_test
        elif baseline:
            result, show = regression.check(new, baseline, settings, limits, inconclusive or "fail"), checks.table
            _publish(result, junit, markdown)
        else:
            raise click.UsageError("give --baseline OLD.onnx, or --self-test")
    return _answer_gate(call, result, show(result))


@cli.command(
    "inspect",
    epilog=_examples("compress inspect runs/digits_l1inf/02-shrink/model", "compress inspect model.onnx --json"),
)
@click.argument("target", type=click.Path(path_type=Path), metavar="FOLDER | FILE.onnx")
@json_option
@pass_call
def inspect_(call: Call, target: Path) -> None:
    """Show what a saved network or an ONNX file is made of.

    Layer by layer: widths now and originally, parameters, operations and bytes.
    """
    from compressor.report import text

    with _only_answers_on_stdout():
        from compressor import inventory

        found = inventory.take(target)
    call.answer(found, text.inventory(found))


@cli.command(epilog=_examples("compress report runs/digits_l1inf"))
@click.argument("run", type=click.Path(path_type=Path))
@json_option
@pass_call
def report(call: Call, run: Path) -> None:
    """Write the report of a run again.

    It goes to report/index.html and report/report.json in the run directory, and its summary to stdout.
    """
    from compressor import gate
    from compressor.report import page

    call.run_dir = run
    with _only_answers_on_stdout():
        written = page.write(run, gate.judge)
    _answer_report(call, written)


@cli.command(epilog=_examples("compress recipes"))
@json_option
@pass_call
def recipes(call: Call) -> None:
    """List the packaged recipes.

    Each runs by its name from any folder; a file of that name in the current folder comes first.
    """
    from compressor.report import text

    found = list(cookbook.summaries().items())
    data = {"folder": str(cookbook.folder()), "recipes": [{"name": name, "summary": line} for name, line in found]}
    call.answer(data, text.aligned(found))


@cli.command(epilog=_examples("compress schema > recipe.schema.json"))
@json_option
@pass_call
def schema(call: Call) -> None:
    """Print the JSON schema of a recipe, for editors."""
    with _only_answers_on_stdout():
        from compressor.recipe import Recipe

        found = Recipe.model_json_schema()
    call.answer(found, json.dumps(found, indent=2))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the only place that catches, says in one line what went wrong, and picks the exit code."""
    call = Call(sys.argv[1:] if arguments is None else arguments)
    try:
        return cli.main(list(call.arguments), prog_name="compress", standalone_mode=False, obj=call) or 0
    except (KeyboardInterrupt, click.Abort):
        resume = "" if call.run_dir is None else f"; resume with: {shlex.join(['compress', *call.arguments])}"
        return _fail(call, f"interrupted{resume}", 130)
    except click.ClickException as error:
        usage = " ".join(error.format_message().split()).rstrip(".")
        return _fail(call, f"{usage[:1].lower()}{usage[1:]}; see compress --help", RecipeError.exit_code)
    except GateMissed as error:
        report = None if call.run_dir is None else read_json(RunDir(call.run_dir).report / "report.json")
        return _fail(call, str(error), error.exit_code, report, _summary(call, report) if report else "")
    except (CompressorError, BenchError) as error:
        return _fail(call, str(error), error.exit_code)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL_OR_READ_ONLY:
            place = error.filename or call.run_dir or "disk"
            what = f"{place}: {error.strerror}; free some space, or choose another place with --run-dir"
            return _fail(call, what, RunDirError.exit_code)
        what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return _fail(call, f"{what}; a bug of ours, its traceback is in {_keep_traceback(call.run_dir)}", 1)


def _fail(call: Call, message: str, exit_code: int, found: dict[str, Any] | None = None, text: str = "") -> int:
    """Say what went wrong; what was found all the same is still the answer."""
    if call.is_json:
        click.echo(json.dumps({**(found or {}), "error": message, "exit_code": exit_code}))
    elif text:
        click.echo(text)
    for line in message.splitlines():
        click.echo(f"compress: {line}", err=True)
    return exit_code


def _keep_traceback(run_dir: Path | None) -> Path:
    if run_dir is None or not run_dir.is_dir() or not os.access(run_dir, os.W_OK):
        run_dir = Path(tempfile.mkdtemp(prefix="compress-"))
    file = run_dir / "traceback.txt"
    file.write_text(traceback.format_exc(), encoding="utf-8")
    return file


def _answer_report(call: Call, report: dict[str, Any]) -> None:
    call.answer(report, _summary(call, report))


def _summary(call: Call, report: dict[str, Any]) -> str:
    from compressor.report import text

    place = f"\n\nreport: {RunDir(call.run_dir).report / 'index.html'}" if call.run_dir else ""
    return text.summary(report) + place


def _answer_gate(call: Call, result: dict[str, Any], text: str) -> int:
    from compressor.report import checks

    misses = checks.misses(result)
    if not misses:
        call.answer(result, text)
        return 0
    kind = GateMissed if result["verdict"] == "regression" else Inconclusive
    return _fail(call, "\n".join(misses), kind.exit_code, result, text)


def _publish(result: dict[str, Any], junit: Path | None, markdown: Path | None) -> None:
    """Write what CI shows: files, and on GitHub annotations, which its runner reads from stderr as well."""
    from compressor.report import checks

    try:
        if junit:
            junit.write_text(checks.junit(result), encoding="utf-8")
        if markdown:
            with markdown.open("a", encoding="utf-8") as summary:
                summary.write(checks.markdown(result))
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written: {error.strerror}") from error
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in checks.annotations(result):
            click.echo(line, err=True)


def _only_answers_on_stdout() -> contextlib.redirect_stdout[Any]:
    """Send what libraries print, such as torch's exporter, to stderr."""
    return contextlib.redirect_stdout(sys.stderr)


def _plan_of_run(run: Path) -> dict[str, Any]:
    file = RunDir(run).bench_plan
    plan: dict[str, Any] | None = read_json(file)
    if plan is None:
        raise InputError(f"{run}: no {file.name} there; give the folder of a finished run, or ONNX files")
    variants = [{**variant, "file": str((run / variant["file"]).resolve())} for variant in plan["variants"]]
    return plan | {"variants": variants}


def _plan_of_files(files: Sequence[Path]) -> dict[str, Any]:
    unknown = dict.fromkeys(("quantized", "accuracy", "n_examples", "split", "n_params"))
    variants = [
        {"name": str(file), "kind": "result" if index else "original", "file": str(file.resolve()), **unknown}
        for index, file in enumerate(files)
    ]
    return {"format": 1, "variants": variants}


if __name__ == "__main__":
    sys.exit(main())
