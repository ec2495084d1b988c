"""Remove dead units from the layers, and prove for each exact cut that no output changed."""

from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from compressor import surgery
from compressor.errors import NumericsError
from compressor.model import Model, outputs_of
from compressor.model.outputs import probe_of
from compressor.surgery import Width
from compressor.training.context import Context
from compressor.training.options import StageOptions


class Options(StageOptions):
    """Recipe keys of the `shrink` stage."""

    stage: Literal["shrink"]
    multiple_of: int = Field(default=1, ge=1)
    """Widths are rounded up to a multiple of this, with dead units; 8 or 16 helps on some boards, but not on x86."""
    allow_empty: bool = False
    """If true, a sub-block without live units becomes the identity on its residual path; if false, it is an error."""


def run(model: Model, options: Options, context: Context) -> Model:
    """Cut every width down to its live units."""
    probe = probe_of(model, context.seed)
    dropped: dict[str, list[int]] = {}
    errors: dict[bool, float] = {True: 0.0, False: 0.0}
    for name in [width.name for width in model.widths()]:
        width = next(other for other in model.widths() if other.name == name)  # a cut moves the entries of other widths
        keep = _kept(width, surgery.dead_units(model.net, width), options)
        if keep.all():
            continue
        errors[width.exact] = max(errors[width.exact], _cut_(model, width, keep, probe))
        dropped[name] = (~keep).nonzero().flatten().tolist()
    model.record(model.layers)
    context.journal.write_json("surgery.json", _provenance(dropped, context))
    approximate = {"largest_approximate_error": errors[False]} if errors[False] else {}
    context.journal.log(
        removed_units=sum(map(len, dropped.values())),
        n_params=surgery.n_params(model.net),
        largest_error=errors[True],
        **approximate,
    )
    return model


def _cut_(model: Model, width: Width, keep: Tensor, probe: dict[str, Tensor]) -> float:
    """Remove the other units, prove that an exact cut keeps the outputs, and return their relative error."""
    before = outputs_of(model)(probe)
    surgery.shrink_(model.net, width, keep, probe)
    model.arch.resized_(model.net, width, int(keep.sum()))
    after = outputs_of(model)(probe)
    if width.exact:
        for name, values in before.items():
            surgery.prove_equal(values, after[name], width.name)
    return max(float((after[name] - values).abs().max() / values.abs().max()) for name, values in before.items())


def _kept(width: Width, dead: Tensor, options: Options) -> Tensor:
    """Mask of the units to keep: the live ones, and enough dead ones to round the width up."""
    n_live = int((~dead).sum())
    if n_live == 0 and not options.allow_empty:
        raise NumericsError(
            f"{width.name}: none of its {width.size} units is live; lower the sparsity, or set allow_empty: true"
        )
    n_kept = min(width.size, -(-n_live // options.multiple_of) * options.multiple_of)
    keep = ~dead
    keep[dead.nonzero().flatten()[: n_kept - n_live]] = True
    return keep


def _provenance(dropped: dict[str, list[int]], context: Context) -> dict[str, Any]:
    return {"format": 1, "metadata": dict(context.metadata), "dropped_units": dropped}
