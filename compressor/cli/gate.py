"""The command that decides: `gate`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from compressor.bench.gate_result import GateSettings
from compressor.cli.amounts import Finite, percent, seconds
from compressor.cli.call import Call, examples, fail, json_option, only_answers_on_stdout, pass_call, shape_options
from compressor.errors import GateMissed, Inconclusive, InputError
from compressor.report.gate_result import Limits

if TYPE_CHECKING:
    from compressor.measure.gate import Allowed
    from compressor.report.gate_result import Comparison, SelfTest


@dataclass(frozen=True, kw_only=True)
class GateRequest:
    """What the command line asks of the gate."""

    new: Path
    baseline: Path | None
    margin: float
    budget_s: float
    inconclusive: Literal["pass", "fail"] | None
    is_self_test: bool
    inputs: Path | None
    baseline_inputs: Path | None
    allow_nonfinite: bool
    allow_other_outputs: bool
    batch_sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    threads: tuple[int, ...]
    shapes: tuple[tuple[str, list[int]], ...]
    counter: str | None
    limits: Limits
    junit: Path | None
    markdown: Path | None

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises
        ------
        UsageError
            If there is neither a baseline nor a self-test, a self-test has options of a comparison, or a limit lacks
            the option that it needs.
        """
        of_comparison = (self.baseline, self.inconclusive, self.junit, self.markdown, self.counter)
        is_comparison = any(value is not None for value in (*of_comparison, *self.limits.values()))
        is_comparison |= self.baseline_inputs is not None or bool(self.allowed)
        if self.is_self_test and is_comparison:
            raise click.UsageError("--self-test takes only --margin, --budget, --inputs and the shapes")
        if not self.counter and self.limits.get("instructions") is not None:
            raise click.UsageError("--max-instructions needs --counter callgrind")
        if self.baseline_inputs and not self.inputs:
            raise click.UsageError("--baseline-inputs needs --inputs, the same examples for the new file")
        if not self.is_self_test and self.baseline is None:
            raise click.UsageError("give --baseline OLD.onnx, or --self-test")

    @property
    def allowed(self) -> "list[Allowed]":
        """Faults of the outputs that are meant."""
        given: tuple[tuple[Allowed, bool], ...] = (
            ("nonfinite", self.allow_nonfinite),
            ("other outputs", self.allow_other_outputs),
        )
        return [fault for fault, is_allowed in given if is_allowed]

    @property
    def settings(self) -> GateSettings:
        """Keys of the gate's plan; what was not given takes the plan's default."""
        settings: GateSettings = {"margin": self.margin, "budget_s": self.budget_s, "counter": self.counter}
        if self.batch_sizes:
            settings["batch_sizes"] = list(self.batch_sizes)
        if self.lengths:
            settings["lengths"] = list(self.lengths)
        if self.threads:
            settings["threads"] = list(self.threads)
        if self.shapes:
            settings["inputs"] = {name: {"shape": [*shape]} for name, shape in self.shapes}
        if self.inputs:
            settings["inputs_file"] = str(self.inputs.absolute())
        if self.baseline_inputs:
            settings["baseline_inputs_file"] = str(self.baseline_inputs.absolute())
        return settings


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
@click.option(
    "--baseline-inputs",
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="The same examples for a baseline that reads other ids.",
)
@click.option("--allow-nonfinite", is_flag=True, help="Accept outputs that hold NaN or infinities.")
@click.option("--allow-other-outputs", is_flag=True, help="Accept outputs of other names, types or shapes.")
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
def gate_command(call: Call, /, **options: Any) -> int:
    """Tell whether an ONNX file is slower than a baseline, measured side by side.

    Exit code 6 is a regression, 7 no answer within the budget.
    """
    limits = cast(Limits, {name: options.pop(name) for name in Limits.__annotations__})
    request = GateRequest(limits=limits, **options)
    request.check()
    return _self_test(call, request) if request.baseline is None else _compare(call, request, request.baseline)


def _self_test(call: Call, request: GateRequest) -> int:
    from compressor.measure.gate import self_test
    from compressor.report import gate

    with only_answers_on_stdout():
        result = self_test(request.new, request.settings)
    return _answer(call, result, gate.self_test(result), gate.failed_self_test(result))


def _compare(call: Call, request: GateRequest, baseline: Path) -> int:
    from compressor.measure.gate import check
    from compressor.report import gate

    with only_answers_on_stdout():
        for file in filter(None, (request.junit, request.markdown)):
            _make_writable(file)
        undecided = request.inconclusive or "fail"
        result = check(request.new, baseline, request.settings, request.limits, undecided, request.allowed)
        _publish(result, request.junit, request.markdown)
    return _answer(call, result, gate.table(result), gate.misses(result))


def _answer(call: Call, result: "Comparison | SelfTest", text: str, misses: list[str]) -> int:
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


def _publish(result: "Comparison", junit: Path | None, markdown: Path | None) -> None:
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
