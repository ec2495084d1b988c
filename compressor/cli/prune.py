"""The command that prunes without a recipe: `prune`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compressor.cli.call import Call, examples, json_option, only_answers_on_stdout, pass_call, set_option

if TYPE_CHECKING:
    from compressor.pipeline.pruned import Preview
    from compressor.recipe import Recipe


def target(text: str) -> tuple[str, float]:
    """Read a target.

    Examples
    --------
    >>> target("p50_ratio=0.5"), target("p50_ms=2")
    (('p50_ratio', 0.5), ('p50_ms', 2.0))
    """
    key, _, number = text.partition("=")
    try:
        return key.strip(), float(number)
    except ValueError as error:
        raise click.BadParameter(f"should be a key and a number such as p50_ratio=0.5, got {text!r}") from error


@click.command(
    "prune",
    epilog=examples(
        "compress prune my-checkpoint --data stanfordnlp/sst2 --target p50_ratio=0.5",
        "compress prune my-checkpoint --data reviews.csv --target p50_ms=2 --set bench.lengths=[64]",
        "compress prune my-checkpoint --data reviews.csv --target n_flops_ratio=0.4 --fast --dry-run",
    ),
)
@click.argument("checkpoint", metavar="FOLDER | CHECKPOINT")
@click.option(
    "--data", required=True, metavar="DATASET", help="Hub id, folder, file, or sklearn: name, as in a recipe."
)
@click.option("--task", help="Task of the network. Default: that of its head.")
@click.option(
    "wanted",
    "--target",
    type=target,
    required=True,
    metavar="KEY=NUMBER",
    help="p50_ratio, p50_ms, n_flops_ratio, n_params_ratio or size_ratio, with what it should be.",
)
@click.option("is_fast", "--fast", is_flag=True, help="Judge units by one backward pass: seconds in place of minutes.")
@click.option(
    "is_dry",
    "--dry-run",
    is_flag=True,
    help="Print the recipe, and how many units each width would keep; keep nothing.",
)
@set_option
@click.option(
    "--run-dir", type=click.Path(path_type=Path), metavar="DIR", help="Default: runs/prune-<name of the checkpoint>."
)
@json_option
@pass_call
def prune_command(
    call: Call,
    /,
    checkpoint: str,
    data: str,
    task: str | None,
    wanted: tuple[str, float],
    is_fast: bool,
    is_dry: bool,
    settings: tuple[str, ...],
    run_dir: Path | None,
) -> None:
    """Prune a network to a latency, a size or a count, without training and without a recipe.

    It is pruned, cut, exported, quantized to int8, measured beside the original, and reported. The same command again
    resumes a run that was interrupted; the recipe lies in the run directory.
    """
    from compressor.pipeline.pruned import Request, preview

    with only_answers_on_stdout():
        request = Request(
            checkpoint=checkpoint, dataset=data, task=task, target=wanted, is_fast=is_fast, settings=settings
        )
        recipe = request.recipe()
        previewed = preview(recipe) if is_dry else None
    if previewed is not None:
        call.answer(previewed, _text(recipe, previewed))
        return
    _run(call, recipe, run_dir or Path("runs") / f"prune-{Path(checkpoint).resolve().name}")


def _run(call: Call, recipe: "Recipe", run_dir: Path) -> None:
    from compressor.cli.call import summary
    from compressor.pipeline import run
    from compressor.rundir import RunDir

    call.run_dir = run_dir
    with only_answers_on_stdout():
        report = run(recipe, run_dir)
    call.answer(report, summary(report, RunDir(run_dir).report))


def _text(recipe: "Recipe", previewed: "Preview") -> str:
    """Show the recipe, the widths, and what they should take."""
    from compressor.recipe import dump
    from compressor.report import targets, text

    rows = [[each["name"], f"{each['n_units']:,}", f"{each['n_units_original']:,}"] for each in previewed["widths"]]
    table = text.aligned([["width", "units", "originally"], *rows], numbers=True)
    return "\n\n".join([dump(recipe).rstrip(), table, targets.line(previewed["target"])])
