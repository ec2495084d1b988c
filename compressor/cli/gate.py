"""The command that decides: `gate`."""

import os
from pathlib import Path
from typing import Any, Literal

import click

from compressor.cli.amounts import Finite, percent, seconds
from compressor.cli.call import Call, examples, fail, json_option, only_answers_on_stdout, pass_call, shape_options
from compressor.errors import GateMissed, Inconclusive, InputError


@click.command(
    "gate",
    epilog=examples(
        "compress gate new.onnx --baseline old.onnx",
        "compress gate new.onnx --baseline old.onnx --budget 60s --max-bytes 0% --junit gate.xml",
        "compress gate new.onnx --baseline old.onnx --inputs dev.npz --max-accuracy-drop 1%",
        "compress gate new.onnx --self-test",
    ),
)
@click.argument("new", type=click.Path(path_type=Path), metavar="NEW.onnx")
@click.option("--baseline", type=click.Path(path_type=Path), metavar="OLD.onnx", help="File to compare with.")
@click.option("--margin", type=percent, default="2%", help="Slowdown that still passes. Default: 2%.")
@click.option("budget_s", "--budget", type=seconds, default="10s", help="For measuring all shapes. Default: 10s.")
@click.option("--inconclusive", type=click.Choice(["pass", "fail"]), help="What no answer counts as. Default: fail.")
@shape_options
@click.option("--inputs", type=click.Path(path_type=Path), metavar="FILE.npz", help="Inputs in place of random ones.")
@click.option("accuracy", "--max-accuracy-drop", type=percent, help="Limit on the loss of accuracy; needs --inputs.")
@click.option("bytes", "--max-bytes", type=percent, help="Limit on the growth of the file.")
@click.option("parameters", "--max-parameters", type=percent, help="Limit on the growth of its parameters.")
@click.option("memory", "--max-memory", type=percent, help="Limit on the growth of its peak memory.")
@click.option("flops", "--max-flops", type=percent, help="Limit on the growth of its FLOPs.")
@click.option("operations", "--max-new-operations", type=click.IntRange(0), help="Limit on operations added.")
@click.option("outputs", "--max-difference", type=Finite(0), help="Limit on the outputs' difference.")
@click.option("--counter", type=click.Choice(["callgrind"]), help="Count instructions as well; takes minutes.")
@click.option("instructions", "--max-instructions", type=percent, help="Limit on their growth. Default: 0.5%.")
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
    inputs: Path | None,
    counter: str | None,
    batch_sizes: tuple[int, ...],
    lengths: tuple[int, ...],
    threads: tuple[int, ...],
    **limits: float | None,
) -> int:
    """Tell whether an ONNX file is slower than a baseline, measured side by side.

    Exit code 6 is a regression, 7 no answer within the budget.
    """
    from compressor.measure.gate import check, self_test
    from compressor.report import gate

    if is_self_test and {baseline, inconclusive, junit, markdown, counter, *limits.values()} != {None}:
        raise click.UsageError("--self-test stands alone with --margin, --budget, --inputs and the shapes")
    if not counter and limits["instructions"] is not None:
        raise click.UsageError("--max-instructions needs --counter callgrind")
    shapes = {"batch_sizes": batch_sizes, "lengths": lengths, "threads": threads}
    settings: dict[str, Any] = {"margin": margin, "budget_s": budget_s, "counter": counter}
    settings |= {key: list(sizes) for key, sizes in shapes.items() if sizes}
    if inputs:
        settings["inputs_file"] = str(inputs.resolve())
    with only_answers_on_stdout():
        if is_self_test:
            result, show = self_test(new, settings), gate.self_test
        elif baseline:
            for file in filter(None, (junit, markdown)):
                _make_writable(file)
            result, show = check(new, baseline, settings, limits, inconclusive or "fail"), gate.table
            _publish(result, junit, markdown)
        else:
            raise click.UsageError("give --baseline OLD.onnx, or --self-test")
    return _answer_gate(call, result, show(result))


def _answer_gate(call: Call, result: dict[str, Any], text: str) -> int:
    from compressor.report import gate

    misses = gate.misses(result)
    if not misses:
        call.answer(result, text)
        return 0
    kind = GateMissed if result["verdict"] == "regression" else Inconclusive
    return fail(call, "\n".join(misses), kind.exit_code, result, text)


def _make_writable(file: Path) -> None:
    """Find out before anything is measured that a file cannot be written; missing folders are made."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a"):
            pass
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from error


def _publish(result: dict[str, Any], junit: Path | None, markdown: Path | None) -> None:
    """Write what CI shows: files, and on GitHub annotations, which its runner reads from stderr as well."""
    from compressor.report import gate

    try:
        if junit:
            junit.write_text(gate.junit(result), encoding="utf-8")
        if markdown:
            with markdown.open("a", encoding="utf-8") as summary:
                summary.write(gate.markdown(result))
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written: {error.strerror}") from error
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in gate.annotations(result):
            click.echo(line, err=True)
