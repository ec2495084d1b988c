"""The command that quantizes an ONNX file of any origin: `quantize`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compressor.cli.amounts import percent
from compressor.cli.call import Call, examples, json_option, only_answers_on_stdout, pass_call

if TYPE_CHECKING:
    from compressor.pipeline.quantize import Quantized
    from compressor.stages.quantize import Options


@click.command(
    "quantize",
    epilog=examples(
        "compress quantize model.onnx --out int8",
        "compress quantize model.onnx --mode static --inputs rows.npz --out int8",
        "compress quantize model.onnx --mode static --inputs rows.npz --max-accuracy-drop 0.5% --out int8 --json",
        "compress quantize model.onnx --mode auto --inputs rows.npz --max-accuracy-drop 1% --out fast",
        "compress quantize model.onnx --embeddings int4 --storage-bits 4 --out small",
    ),
)
@click.argument("file", metavar="MODEL.onnx", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Gets model.onnx.")
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    metavar="ROWS.npz",
    help="An array for each input, one row an example; 'labels' for the accuracy.",
)
@click.option("--mode", default="dynamic", show_default=True, help="dynamic, static, weights or auto, as in a recipe.")
@click.option(
    "--ranges",
    type=click.Choice(["min_max", "percentile", "entropy", "mse"]),
    help="How static finds the range of an activation. Default: min_max.",
)
@click.option("--target", type=click.Choice(["x86", "arm"]), help="Processor of static. Default: x86.")
@click.option("--bits", type=click.Choice(["4", "8"]), help="Bits of weights. Default: 4.")
@click.option("--block-size", type=click.Choice(["16", "32", "64", "128", "256"]), help="Of weights. Default: 32.")
@click.option("--embeddings", type=click.Choice(["int8", "int4"]), help="Tables of embeddings. Default: int8.")
@click.option("--storage-bits", type=click.Choice(["4", "8"]), help="Bits of products in the file. Default: 8.")
@click.option("--float-layers", multiple=True, metavar="PATTERN", help="Layers that stay in float. Repeatable.")
@click.option("--max-accuracy-drop", type=percent, metavar="X%", help="Accuracy on the rows that may be lost.")
@json_option
@pass_call
def quantize_command(call: Call, /, file: Path, out: Path, inputs: Path | None, **given: Any) -> None:
    """Quantize an ONNX file from anywhere, as the stage quantize does.

    With labels among the inputs and a limit, the layers that do the most harm stay in float until the limit holds.
    """
    with only_answers_on_stdout():
        from compressor.pipeline.quantize import quantize

        done = quantize(file, out, inputs, _options(given))
    call.answer(done, _text(done))


def _options(given: dict[str, Any]) -> "Options":
    """Make the options of the stage from what was given."""
    from pydantic import ValidationError

    from compressor.stages.quantize import Options

    numbers = {name: int(given[name]) for name in ("bits", "block_size", "storage_bits") if given[name] is not None}
    kept = {name: value for name, value in given.items() if value not in (None, ())}
    try:
        return Options(stage="quantize", **{**kept, **numbers})
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"{name}: " for name in first["loc"])
        raise click.UsageError(place + first["msg"].removeprefix("Value error, ")) from error


def _text(done: "Quantized") -> str:
    lines = [f"{done['file']}: {done['precision']}, {done['size_bytes'] / done['source_size_bytes']:.2f} of the bytes"]
    if done["accuracy"] is not None:
        lines.append(f"accuracy {done['accuracy']:.4f}, of the float file {done['source_accuracy']:.4f}")
    elif done["max_abs_diff"] is not None:
        lines.append(f"largest difference of an output {done['max_abs_diff']:.3g}")
    if done["float_layers"]:
        lines.append(f"in float: {', '.join(done['float_layers'])}")
    return "\n".join(lines)
