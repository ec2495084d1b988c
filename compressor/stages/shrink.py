"""Remove dead units from the layers, and prove for each exact cut that no output changed."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
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
    multiple_of: int = Field(default=1, ge=1, le=65_536)
    """Widths are rounded up to a multiple of this, with dead units; 8 or 16 helps on some boards, but not on x86."""
    allow_empty: bool = False
    """If true, a sub-block without live units becomes the identity on its residual path; if false, it is an error."""


def run(model: Model, options: Options, context: Context) -> Model:
    """Cut every width down to its live units, until no unit is dead."""
    probe = probe_of(model, context.seed)
    units = {width.name: torch.arange(width.size) for width in model.widths()}
    left = dict(units)
    errors: dict[bool, float] = {True: 0.0, False: 0.0}
    while cuts := _next_cuts(model, options):  # repeated: a unit that reads only dead ones dies with them
        is_exact = cuts[0][0].exact
        errors[is_exact] = max(errors[is_exact], _cut_(model, cuts, probe))
        for width, keep in cuts:
            left[width.name] = left[width.name][keep]
    model.record(model.layers)
    dropped = {name: sorted({*units[name].tolist()} - {*left[name].tolist()}) for name in units}
    dropped = {name: indices for name, indices in dropped.items() if indices}
    context.journal.write_json("surgery.json", _provenance(dropped, context))
    approximate = {"largest_approximate_error": errors[False]} if errors[False] else {}
    context.journal.log(
        removed_units=sum(map(len, dropped.values())),
        n_params=surgery.n_params(model.net),
        largest_error=errors[True],
        **approximate,
    )
    return model


def _next_cuts(model: Model, options: Options) -> list[tuple[Width, Tensor]]:
    """Return the first kind of widths with dead units, each with the units to keep; empty if none is dead."""
    kinds: dict[tuple[str, bool], list[tuple[Width, Tensor]]] = {}
    for width in model.widths():
        keep = _kept(width, surgery.dead_units(model.net, width), options)
        if not keep.all():
            kinds.setdefault((width.what, width.exact), []).append((width, keep))
    return next(iter(kinds.values()), [])


def _cut_(model: Model, cuts: Sequence[tuple[Width, Tensor]], probe: dict[str, Tensor]) -> float:
    """Remove the other units of widths of one kind, and return the relative error of the outputs.

    If removal is exact, the outputs are proved equal; if they are not, the widths are cut one by one on a copy, so
    that the error names one of them. The copy has the same weights: a cut puts smaller ones in their place, and writes
    into biases only.
    """
    before, uncut = outputs_of(model)(probe), model.sharing() if len(cuts) > 1 else None
    surgery.shrink_all_(model.net, cuts, probe)
    for width, keep in cuts:
        model.arch.resized_(model.net, width, int(keep.sum()))
    after = outputs_of(model)(probe)
    if cuts[0][0].exact:
        try:
            for name, values in before.items():
                surgery.prove_equal(values, after[name], cuts[0][0].name)
        except NumericsError:
            if uncut is None:
                raise
            return _cut_one_by_one_(model, uncut, cuts, probe)
    return max(float((after[name] - values).abs().max() / values.abs().max()) for name, values in before.items())


def _cut_one_by_one_(
    model: Model, uncut: Model, cuts: Sequence[tuple[Width, Tensor]], probe: dict[str, Tensor]
) -> float:
    """Cut the copy instead, one width at a time, with a proof for each."""
    model.net = uncut.net
    keeps = {width.name: keep for width, keep in cuts}
    errors = []
    for name, keep in keeps.items():
        width = next(width for width in model.widths() if width.name == name)  # a cut moves entries of other widths
        errors.append(_cut_(model, [(width, keep)], probe))
    return max(errors)


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
