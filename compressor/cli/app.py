"""The `compress` command: flags in, one call, exit code out."""

import errno
import io
import json
import os
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

import compressor
from compressor.bench.errors import BenchError
from compressor.cli import bench, compare, gate, prune, quantize
from compressor.cli.call import (
    Call,
    examples,
    fail,
    json_option,
    only_answers_on_stdout,
    pass_call,
    set_option,
    summary,
)
from compressor.errors import CompressorError, GateMissed, InputError, RecipeError, RunDirError, first_line
from compressor.files import read_json
from compressor.recipe import packaged
from compressor.rundir import RunDir

OURS = (errno.ENOENT, errno.EEXIST)  # of a file that nobody looked for before; others are of the place: names too long
FULL_OR_READ_ONLY = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _print_version(context: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    if is_wanted:
        context.obj.answer({"version": compressor.__version__}, f"compress {compressor.__version__}")
        context.exit()


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "compress --recipe digits_l1inf.yaml",
        "compress --recipe sst2_l1inf.yaml --set seed=1 --run-dir runs/seed-1",
        "compress check sst2_l1inf.yaml",
    ),
)
@click.option("--recipe", metavar="FILE", help="Recipe to run: a path, or the name of a packaged recipe.")
@set_option
@click.option("--run-dir", type=click.Path(path_type=Path), metavar="DIR", help="Default: runs/<name of the recipe>.")
@json_option
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def cli(context: click.Context, recipe: str | None, settings: tuple[str, ...], run_dir: Path | None) -> None:
    """Compress a trained model into a smaller, faster, verified ONNX file, as a recipe says.

    The same command again resumes a run that was interrupted.
    """
    if context.invoked_subcommand is not None:
        if recipe or settings or run_dir:
            raise click.UsageError("--recipe, --set and --run-dir cannot precede a command; put --set after it")
        return
    if recipe is None:
        raise click.UsageError("give a recipe or a command, such as compress --recipe digits_l1inf.yaml")
    call: Call = context.obj
    call.run_dir = run_dir or packaged.run_dir(recipe)
    with only_answers_on_stdout():
        report = compressor.run(recipe, call.run_dir, settings)
    call.answer(report, summary(report, RunDir(call.run_dir).report))


@cli.command("check", epilog=examples("compress check digits_l1inf.yaml", "compress check my.yaml --set seed=1"))
@click.argument("recipe")
@set_option
@json_option
@pass_call
def check_command(call: Call, recipe: str, settings: tuple[str, ...]) -> None:
    """Resolve a recipe, model and data included, and print its plan.

    Nothing is trained, nothing is written.
    """
    from compressor.report import text

    with only_answers_on_stdout():
        plan = compressor.check(recipe, settings)
    call.answer(plan, text.plan(plan))


for command in (
    bench.bench_command,
    bench.bundle_command,
    bench.calibrate_energy_command,
    bench.join_energy_command,
    compare.compare_command,
    gate.gate_command,
    prune.prune_command,
    quantize.quantize_command,
):
    cli.add_command(command)


@cli.command(
    "inspect",
    epilog=examples("compress inspect runs/digits_l1inf/02-shrink/model", "compress inspect model.onnx --json"),
)
@click.argument("target", type=click.Path(path_type=Path), metavar="FOLDER | FILE.onnx")
@json_option
@pass_call
def inspect_command(call: Call, target: Path) -> None:
    """Show what a saved network or an ONNX file is made of.

    Layer by layer: widths now and originally, parameters, operations and bytes.
    """
    from compressor.report import text

    with only_answers_on_stdout():
        from compressor.model import inventory

        inspected = inventory.take(target)
    call.answer(inspected, text.inventory(inspected))


@cli.command(
    "report",
    epilog=examples("compress report runs/digits_l1inf", "compress report runs/digits_l1inf --bench board.json"),
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--bench",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help="What another machine measured of the run: a report of its own, in report/FILE.",
)
@json_option
@pass_call
def report_command(call: Call, run: Path, bench: Path | None) -> None:
    """Write the report of a run again.

    It goes to report/index.html and report/report.json in the run directory, and its summary to stdout.
    """
    from compressor.report import page

    call.run_dir = run
    with only_answers_on_stdout():
        written = page.write(run, bench)
    call.answer(written, summary(written, page.folder(run, bench)))


@cli.command("recipes", epilog=examples("compress recipes"))
@json_option
@pass_call
def recipes_command(call: Call) -> None:
    """List the packaged recipes.

    Each runs by its name from any folder; a file of that name in the current folder comes first.
    """
    from compressor.report import text

    summaries = list(packaged.summaries().items())
    listed = [{"name": name, "summary": line} for name, line in summaries]
    call.answer({"folder": str(packaged.folder()), "recipes": listed}, text.aligned(summaries))


@cli.command("schema", epilog=examples("compress schema > recipe.schema.json"))
@json_option
@pass_call
def schema_command(call: Call) -> None:
    """Print the JSON schema of a recipe, for editors."""
    with only_answers_on_stdout():
        from compressor.recipe import Recipe

        schema = Recipe.model_json_schema()
    call.answer(schema, json.dumps(schema, indent=2))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the only place that catches, says in one line what went wrong, and picks the exit code."""
    call = Call(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be bytes that are no text
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what CI sends: it ends children as Ctrl-C does
    try:
        return cli.main(list(call.arguments), prog_name="compress", standalone_mode=False, obj=call) or 0
    except (KeyboardInterrupt, click.Abort):
        resume = "" if call.run_dir is None else f"; resume with: {shlex.join(['compress', *call.arguments])}"
        return fail(call, f"interrupted{resume}", 130)
    except click.ClickException as error:
        usage = " ".join(error.format_message().split()).rstrip(".")
        return fail(call, f"{usage[:1].lower()}{usage[1:]}; see compress --help", RecipeError.exit_code)
    except GateMissed as error:
        home = RunDir(call.run_dir).report if call.run_dir else None
        report = read_json(home / "report.json") if home else None
        return fail(call, str(error), error.exit_code, report, summary(report, home) if home and report else "")
    except (CompressorError, BenchError) as error:
        return fail(call, str(error), error.exit_code)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL_OR_READ_ONLY:
            place = error.filename or call.run_dir or "disk"
            what = f"{place}: {error.strerror}; free some space, or choose another place with --run-dir"
            return fail(call, what, RunDirError.exit_code)
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            what = f"memory ran out ({first_line(error)})"
            return fail(call, f"{what}; give a smaller network, image, length or batch", InputError.exit_code)
        if isinstance(error, OSError) and error.filename and error.errno not in OURS:
            return fail(call, f"{error.filename}: {error.strerror}; give another name or place", InputError.exit_code)
        what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return fail(call, f"{what}; a bug of ours, its traceback is in {_keep_traceback(call.run_dir)}", 1)


def _keep_traceback(run_dir: Path | None) -> Path:
    if run_dir is None or not run_dir.is_dir() or not os.access(run_dir, os.W_OK):
        run_dir = Path(tempfile.mkdtemp(prefix="compress-"))
    file = run_dir / "traceback.txt"
    file.write_text(traceback.format_exc(), encoding="utf-8")
    return file


if __name__ == "__main__":
    sys.exit(main())
