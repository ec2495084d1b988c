"""The command that compares factorizations: `compare`."""

from pathlib import Path
from typing import Any

import click

from compressor.cli.amounts import Finite
from compressor.cli.call import Call, examples, json_option, only_answers_on_stdout, pass_call

METHODS = "svd,tucker,monarch,kronecker,tensor_train"
BUDGETS = "0.75,0.5,0.25"
NORMS = ("activation", "weight", "diagonal", "fisher")


def words(text: str) -> tuple[str, ...]:
    """Read a list with commas.

    Examples
    --------
    >>> words("svd, tucker")
    ('svd', 'tucker')
    """
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not found:
        raise click.BadParameter(f"should be a list such as a,b, got {text!r}")
    return found


def numbers(text: str) -> tuple[float, ...]:
    """Read a list of numbers with commas.

    Examples
    --------
    >>> numbers("0.5,0.25")
    (0.5, 0.25)
    """
    try:
        return tuple(float(word) for word in words(text))
    except ValueError as error:
        raise click.BadParameter(f"should be numbers such as 0.5,0.25, got {text!r}") from error


@click.command(
    "compare",
    epilog=examples(
        "compress compare my-checkpoint --data stanfordnlp/sst2",
        "compress compare my-checkpoint --data reviews.csv --methods svd,cp --budgets 0.5,0.25 --norm weight",
        "compress compare my-checkpoint --data reviews.csv --layers '*.intermediate.dense' --layers '*.output.dense'",
        "compress compare runs/digits_l1inf/02-shrink/model --data sklearn:digits --json",
    ),
)
@click.argument("checkpoint", metavar="FOLDER | CHECKPOINT")
@click.option(
    "--data", required=True, metavar="DATASET", help="Hub id, folder, file, or sklearn: name, as in a recipe."
)
@click.option("--task", help="Task of the network. Default: that of its head.")
@click.option(
    "--methods",
    type=words,
    default=METHODS,
    metavar="A,B,...",
    help=f"Factorizations, such as svd or cp. Default: {METHODS}.",
)
@click.option(
    "--budgets",
    type=numbers,
    default=BUDGETS,
    metavar="X,Y,...",
    help=f"Shares of the chosen layers' parameters that are left. Default: {BUDGETS}.",
)
@click.option(
    "--layers",
    multiple=True,
    metavar="PATTERN",
    help="Paths of layers, with wildcards. Repeatable. Default: linear layers and convolutions of the blocks.",
)
@click.option("--norm", type=click.Choice(NORMS), default=NORMS[0], help="Norm of the error. Default: activation.")
@click.option(
    "n_calibration",
    "--calibration",
    type=click.IntRange(1),
    default=512,
    help="Rows for the norm, and held-out rows for the output error. Default: 512.",
)
@click.option(
    "--seconds",
    type=Finite(0, min_open=True),
    default=10.0,
    help="For each file and the dense one at a shape. Default: 10.",
)
@click.option(
    "settings", "--set", multiple=True, metavar="KEY=VALUE", help="Key of a recipe's data, model or bench, or seed."
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Default: runs/compare-<name of the checkpoint>."
)
@json_option
@pass_call
def compare_command(call: Call, /, checkpoint: str, data: str, out: Path | None, **options: Any) -> None:
    """Compare factorizations of a network, without training.

    For each method and budget: errors, parameters, bytes, FLOPs, time and accuracy, beside the dense network in fp32
    and int8. They go to index.html and comparison.json. The same command again resumes one that was interrupted.
    """
    call.run_dir = out or Path("runs") / f"compare-{Path(checkpoint).resolve().name}"
    with only_answers_on_stdout():
        from compressor.pipeline.compare import Request, compare
        from compressor.report import comparison_page

        options["layers"] = options["layers"] or None
        compared = compare(Request(checkpoint=checkpoint, dataset=data, **options), call.run_dir)
    call.answer(compared, f"{comparison_page.text(compared)}\n\npage: {call.run_dir / comparison_page.PAGE}")
