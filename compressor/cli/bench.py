"""The commands that measure: `bench`, `bundle`, `calibrate-energy` and `join-energy`."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import click

from compressor.bench.result import PlanDocument, PlanSettings
from compressor.cli.amounts import Finite, n_bytes
from compressor.cli.call import Call, examples, json_option, only_answers_on_stdout, pass_call, shape_options
from compressor.errors import InputError

RECIPES = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What the command line says of a plan of the bench."""

    targets: tuple[Path, ...]
    batch_sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    threads: tuple[int, ...]
    shapes: tuple[tuple[str, list[int]], ...]
    inputs_file: Path | None
    seconds: float | None
    meter: str | None
    energy_model: Path | None
    memory_limit_bytes: int | None
    counter: str | None

    @property
    def settings(self) -> PlanSettings:
        """Keys of the plan; what was not given takes the plan's default."""
        numbers = {"batch_sizes": self.batch_sizes, "lengths": self.lengths, "threads": self.threads}
        files = {"inputs_file": self.inputs_file, "energy_model": self.energy_model}
        others = {
            "seconds": self.seconds,
            "meter": self.meter,
            "memory_limit_bytes": self.memory_limit_bytes,
            "counter": self.counter,
        }
        given = {
            **{key: list(value) for key, value in numbers.items() if value},
            **{key: str(file.absolute()) for key, file in files.items() if file},
            **{key: value for key, value in others.items() if value},
            **({"inputs": {name: {"shape": shape} for name, shape in self.shapes}} if self.shapes else {}),
        }
        return cast(PlanSettings, given)

    def plan(self, folder: Path) -> PlanDocument:
        """Make the plan, with absolute file names; the files of a recipe's cost table are written into the folder."""
        from compressor.measure.plan import plan

        if len(self.targets) == 1 and self.targets[0].suffix in RECIPES:
            from compressor.pipeline import cost_files
            from compressor.recipe import load_recipe

            return {**cost_files.plan(load_recipe(self.targets[0]), folder), **self.settings}
        return plan(self.targets, self.settings)


def plan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the files and the options that a plan is made of."""
    path = click.Path(path_type=Path)
    for option in (
        click.option("--counter", type=click.Choice(["callgrind"]), help="Count instructions as well, with valgrind."),
        click.option(
            "memory_limit_bytes",
            "--memory-limit",
            type=n_bytes,
            help="Memory limit for loading and running each file, e.g. 512MiB.",
        ),
        click.option(
            "--energy-model", type=path, metavar="PROFILE", help="Estimate joules from it where no meter works."
        ),
        click.option("--meter", help="Energy meter; auto takes the first that works there. Default: auto."),
        click.option("--seconds", type=Finite(0, min_open=True), help="For all files at a shape. Default: 10."),
        click.option("inputs_file", "--inputs", type=path, metavar="FILE.npz", help="Inputs in place of random ones."),
        shape_options,
        click.argument("targets", nargs=-1, required=True, type=path, metavar="RUN | RECIPE | FILE.onnx ..."),
    ):
        command = option(command)
    return command


@click.command(
    "bench",
    epilog=examples(
        "compress bench runs/digits_l1inf",
        "compress bench old.onnx new.onnx --length 64 --json",
        "compress bench runs/digits_l1inf --on ssh://pi@raspberrypi --json > board.json",
        "compress bench sst2_latency.yaml --on ssh://pi@raspberrypi --json > costs.json",
    ),
)
@plan_options
@click.option(
    "--on", "place", metavar="PLACE", help="ssh://user@host[:port], or 'command: ... {script}' such as an emulator."
)
@click.option("--python", help="Python of an ssh host. Default: python3.")
@click.option("--ssh", help="How to connect, such as 'ssh -i key'. Default: ssh.")
@json_option
@pass_call
def bench_command(call: Call, /, place: str | None, python: str | None, ssh: str | None, **options: Any) -> None:
    """Measure ONNX files side by side, or again those of a run; here or on a board.

    Of a recipe with a latency target, the copies that its cost table is made of.
    """
    from compressor.measure import bundle, launch, remote
    from compressor.report import text
    from compressor.temporary import temporary_folder

    if (python or ssh) and not place:
        raise click.UsageError("--python and --ssh go with --on ssh://...")
    with only_answers_on_stdout(), temporary_folder() as files:
        plan = PlanRequest(**options).plan(files.path)
        if place:
            with temporary_folder() as folder:
                bundle.fill(plan, folder.path)
                result = remote.measure(place, folder.path, python or "python3", ssh or "ssh")
            launch.name_files_(result, plan["variants"])
        else:
            result = launch.measure(plan)
    call.answer(result, text.bench(result))


@click.command(
    "bundle",
    epilog=examples(
        "compress bundle runs/digits_l1inf --out board.zip",
        "compress bundle sst2_latency.yaml --out costs.zip   (what bench.json then holds is a cost_table)",
        "python3 bench.pyz                      (there, in the unpacked folder; writes bench.json)",
    ),
)
@plan_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER | FILE.zip",
    help="Default: bundle, in the current folder.",
)
@json_option
@pass_call
def bundle_command(call: Call, /, out: Path | None, **options: Any) -> None:
    """Pack ONNX files with a bench that needs only Python, numpy and onnxruntime."""
    from compressor.measure import bundle
    from compressor.temporary import temporary_folder

    out = out or Path("bundle")
    with only_answers_on_stdout(), temporary_folder() as files:
        plan = bundle.write(PlanRequest(**options).plan(files.path), out)
    runtime = f", onnxruntime {plan['min_onnxruntime']} or newer" if plan["min_onnxruntime"] else ""
    call.answer({"bundle": str(out), **plan}, f"{out}: {len(plan['variants'])} files, opset {plan['opset']}{runtime}")


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
def calibrate_energy_command(call: Call, results: tuple[Path, ...], out: Path) -> None:
    """Fit an energy profile to what the bench measured on a board with a meter.

    The error is that on files left out of the fit, each in its turn.
    """
    from compressor.bench import estimate

    profile = estimate.calibrated([estimate.read_result(file) for file in results])
    estimate.write_profile(profile, out)
    error = f"{profile.active_w:.3g} W and {profile.joules_per_byte:.3g} J/byte, error {profile.error_fraction:.1%}"
    call.answer(asdict(profile), f"{out}: {error} on {profile.n_files} files")


@click.command(
    "join-energy",
    epilog=examples(
        "compress bench runs/digits_l1inf --meter external --json > bench.json   (while the meter records)",
        "compress join-energy bench.json --record usb.csv --out joined.json",
        "compress report runs/digits_l1inf --bench joined.json",
    ),
)
@click.argument("result", type=click.Path(path_type=Path), metavar="BENCH.json")
@click.option(
    "--record", required=True, type=click.Path(path_type=Path), metavar="CSV", help="What the meter recorded."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where to write it.")
@json_option
@pass_call
def join_energy_command(call: Call, result: Path, record: Path, out: Path) -> None:
    """Add the energy that an external meter recorded to a result of the bench."""
    from compressor.bench import trace
    from compressor.report import measured, text

    joined = trace.joined(measured.read(result), record)
    try:
        out.write_text(json.dumps(joined, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}; choose another place with --out") from error
    call.answer(joined, text.bench(joined))
