"""What is measured: the files of a run, or any ONNX files with what can be known about them."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TypedDict

from compressor.bench.inputs import own_lengths
from compressor.bench.plan import Points
from compressor.bench.result import FORMAT, InputFacts, Kind, PlanDocument, PlannedVariant, PlanSettings, PointsDocument
from compressor.bench.shape import Shape
from compressor.errors import InputError, RecipeError
from compressor.files import read_json
from compressor.graphs import bounds, content, flops, shapes
from compressor.rundir import RunDir

DEFAULT = Points()


class Feeding(TypedDict):
    """The keys of a plan that say what files are fed with."""

    batch_sizes: list[int]
    inputs: dict[str, InputFacts]
    lengths: list[int]


def plan(targets: Sequence[Path], settings: PlanSettings) -> PlanDocument:
    """Make a plan of the bench, with absolute names, from the folder of a run or from ONNX files.

    Parameters
    ----------
    targets : sequence of Path
        One run directory, or files.
    settings : mapping
        Keys of a plan that differ from the run's own plan or from the defaults.

    Raises
    ------
    InputError
        If there is no finished run, or a file is damaged or missing; the bench's own class, from which ours derives,
        if the inputs file cannot be read.
    RecipeError
        If a length is more than a file can read.
    """
    if len(targets) == 1 and targets[0].is_dir():
        return {**_of_run(targets[0]), **settings}
    twice = next((file for file in targets if targets.count(file) > 1), None)
    if twice:
        raise RecipeError(f"{twice}: given twice; compress gate {twice} --self-test measures a file against itself")
    return _of_files(targets, settings)


def feeding(files: Sequence[Path], settings: PointsDocument) -> Feeding:
    """Give the keys of a plan that say what files are fed with: bounds of ids, sizes that all of them can read."""
    longest = bounds.max_length(*files)
    asked = settings.get("lengths")
    if asked and longest and max(asked) > longest:
        raise RecipeError(f"--length {max(asked)}: the files read at most {longest}")
    inputs_file = settings.get("inputs_file")
    if inputs_file and not asked:
        names = {declared["name"] for file in files for declared in content.describe(file)["inputs"]}
        asked = own_lengths(Path(inputs_file), names)
    fitting = [length for length in DEFAULT.lengths if not longest or length <= longest]
    batch_sizes = settings.get("batch_sizes") or _fixed_batches(files) or DEFAULT.batch_sizes
    shortest = [longest] if longest else DEFAULT.lengths
    return {"batch_sizes": batch_sizes, "inputs": bounds.input_facts(*files), "lengths": asked or fitting or shortest}


def _fixed_batches(files: Sequence[Path]) -> list[int]:
    """Give the batch size that the files fix; none if they fix none, or different ones."""
    inputs = [declared["shape"] for file in files for declared in content.describe(file)["inputs"]]
    fixed = {shape[0] for shape in inputs if shape and isinstance(shape[0], int) and shape[0] > 0}
    return sorted(fixed) if len(fixed) == 1 else []


def _of_run(run: Path) -> PlanDocument:
    file = RunDir(run).bench_plan
    document: PlanDocument | None = read_json(file)
    if document is None:
        raise InputError(f"{run}: no {file.name} there; give the folder of a finished run, or ONNX files")
    variants: list[PlannedVariant] = [
        {**variant, "file": str((run / variant["file"]).resolve())} for variant in document["variants"]
    ]
    return {**document, "variants": variants}


def _of_files(files: Sequence[Path], settings: PlanSettings) -> PlanDocument:
    feed = feeding(files, settings)
    variants = [_variant(file, "result" if index else "original", feed) for index, file in enumerate(files)]
    return {"format": FORMAT, **settings, **feed, "variants": variants}


def _variant(file: Path, kind: Kind, feed: Feeding) -> PlannedVariant:
    """Describe a bare file: what was not recorded, such as its precision, stays unknown."""
    return {
        "name": str(file),
        "kind": kind,
        "file": str(file.resolve()),
        "weights": content.external_files(file),
        "precision": None,
        "accuracy": None,
        "n_examples": None,
        "split": None,
        "n_params": content.describe(file)["n_params"],
        "n_flops": _n_flops(file, feed),
    }


def _n_flops(file: Path, feed: Feeding) -> dict[str, int | None]:
    """Count the FLOPs of a file at each size of a plan, by the name of the shape."""
    is_text = shapes.has_free_length(shapes.skeleton(file))
    sizes = product(feed["batch_sizes"], feed["lengths"] if is_text else [None])
    return {Shape(*size).name: flops.count(file, *size) for size in sizes}
