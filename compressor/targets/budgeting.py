"""A target for factorizations: the share of the parameters that meets it, found on the network itself."""

from collections.abc import Callable

import numpy as np

from compressor.errors import RecipeError
from compressor.files import read_sealed, write_sealed
from compressor.model import Model
from compressor.options import Target
from compressor.progress import say
from compressor.report import targets
from compressor.rundir import TARGET, TargetRecord
from compressor.targets import correcting
from compressor.targets.costs import Ratios
from compressor.targets.rulers import Ruler, require_export, ruler_of
from compressor.training.context import Context

SHARES = (0.75, 0.5, 0.25)  # of the parameters, at which the network is measured first
MOST, ROUNDING = 0.99, 1e-6
Build = Callable[[float], Model]
"""Makes a copy of the network that has a share of the parameters of its chosen layers."""


def share_for(model: Model, build: Build, least: float, target: Target, context: Context) -> float:
    """Find the share of the parameters with which a factorized network meets a target.

    Parameters
    ----------
    model : Model
        The network before the stage.
    build : callable
        Makes a factorized copy for a share.
    least : float
        The smallest share that the layers can have.
    target : Target
        What is asked.
    context : Context
        Of the stage. In a dry run nothing is measured: the ratio itself stands for the share.

    Returns
    -------
    float
        Share of the parameters of the chosen layers.

    Raises
    ------
    ValueError
        In a dry run, if the recipe exports no file that the target could be about; or if it has a cost table.
    RecipeError
        If measuring shows that the target cannot be reached.
    """
    require_export(target, context)
    if target.cost_table is not None:
        raise ValueError("target: cost_table is for units, not for ranks; leave it out, and measure here")
    if context.is_dry:
        return _within(target.value if target.name != "p50_ms" else MOST, least)
    file = context.folder / TARGET
    if (kept := read_sealed(file)) is not None:
        share: float = kept["share"]
        return share
    try:
        record = _reached(build, least, target, ruler_of(target, model, context))
    except ValueError as error:
        raise RecipeError(f"{context.folder.name}: target: {target.name} {error}; raise it") from error
    write_sealed(file, record)
    say(f"{context.label:<24} {targets.line(record)}")
    return record["share"]


def _reached(build: Build, least: float, target: Target, ruler: Ruler) -> TargetRecord:
    """Measure some shares, and choose and correct until what is measured is close to the target."""
    shares = sorted({MOST, least} if least > SHARES[1] else {max(share, least) for share in SHARES})
    compared = ruler.compare([build(share) for share in shares])
    assert compared is not None  # only a table of elsewhere measures nothing
    goals = ruler.goals(compared.ratios[0], compared.original_ms)
    lines = {
        point: np.polynomial.Polynomial.fit(shares, [ratios[point] for ratios in compared.ratios], 1) for point in goals
    }

    def propose(asked: Ratios) -> tuple[float, Ratios]:
        share = min(float(_crossing(lines[point], goal)) for point, goal in asked.items())
        if share < least * (1 - ROUNDING):
            lowest = {point: float(line(least)) for point, line in lines.items()}
            point = max(asked, key=lambda each: lowest[each] / asked[each])
            what = f"{asked[point]:.3g} cannot be reached at {point}"
            raise ValueError(f"{what}, the smallest ranks give {lowest[point]:.3g}")
        share = _within(share, least)
        return share, {point: float(line(share)) for point, line in lines.items()}

    tries = correcting.corrected(ruler, goals, propose, build)
    share = correcting.closest(tries, goals).choice
    return {**correcting.record(target, goals, compared.original_ms, tries), "share": share}


def _crossing(line: np.polynomial.Polynomial, goal: float) -> float:
    """Share at which a line reaches a goal; the largest where factors save nothing."""
    constant, slope = line.convert().coef[:2]
    return (goal - constant) / slope if slope > 0 else MOST


def _within(share: float, least: float) -> float:
    return min(max(share, least), MOST)
