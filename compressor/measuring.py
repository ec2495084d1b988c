"""The commands that measure: `bench` and `calibrate-energy`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from compressor.call import Call, examples, json_option, only_answers_on_stdout, pass_call, shape_options
from compressor.errors import InputError
from compressor.rundir import RunDir, read_json


@click.command(
    epilog=examples("compress bench runs/digits_l1inf", "compress bench old.onnx new.onnx --length 64 --json")
)
@click.argument("targets", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN | FILE.onnx ...")
@shape_options
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
    with only_answers_on_stdout():
        result = launch.measure(plan | given)
    call.answer(result, text.bench(result["variants"]))


@click.command(
    "calibrate-energy",
    epilog=examples(
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
