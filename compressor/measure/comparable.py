"""Whether the answers of two files can be compared: there are labels, and an id is the same word in both files."""

from pathlib import Path

from compressor.bench.arrays import read_arrays
from compressor.bench.gate_result import GateSettings
from compressor.bench.inputs import LABELS
from compressor.errors import InputError, RecipeError
from compressor.graphs import bounds
from compressor.report.gate_result import Limits


def require(new: Path, baseline: Path, settings: GateSettings, limits: Limits) -> None:
    """Find out before minutes of measuring that answers cannot be compared as asked.

    Raises
    ------
    RecipeError
        If accuracy has a limit and there are no inputs, or the baseline reads other ids where answers are judged.
    InputError
        If accuracy has a limit and the inputs have no labels, or a file is damaged.
    """
    if limits.get("accuracy") is not None:
        _require_labels(settings.get("inputs_file"))
    _require_same_ids(new, baseline, settings, limits)


def _require_labels(file: str | None) -> None:
    if file is None:
        raise RecipeError(f"--max-accuracy-drop: needs inputs with an array {LABELS!r}; give --inputs FILE.npz")
    if LABELS not in read_arrays(Path(file)):
        raise InputError(f"{file}: no array {LABELS!r}; add one with the right class of each example")


def _require_same_ids(new: Path, baseline: Path, settings: GateSettings, limits: Limits) -> None:
    """Refuse to compare answers to other words: after a vocabulary was trimmed, an id is another word."""
    file = settings.get("inputs_file")
    has_labels = file is not None and LABELS in read_arrays(Path(file))
    is_judged = has_labels or any(limits.get(name) is not None for name in ("accuracy", "outputs"))
    if settings.get("baseline_inputs_file") or not is_judged:
        return
    ours, theirs = bounds.input_facts(new), bounds.input_facts(baseline)
    for name in ours.keys() & theirs.keys():
        if ours[name]["below"] != theirs[name]["below"]:
            raise RecipeError(
                f"{baseline}: the baseline reads other ids, {name!r} is below {theirs[name]['below']:,} there and "
                f"below {ours[name]['below']:,} in the new file; give the same examples in the baseline's ids with "
                "--baseline-inputs FILE.npz"
            )
