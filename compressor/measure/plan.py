"""What is measured: the files of a run, or any ONNX files with what can be known about them."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TypedDict

from compressor.bench.arrays import read_arrays
from compressor.bench.axes import Axes, open_axes
from compressor.bench.conforms import misfit
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
        document = _of_run(targets[0])
        return {**document, **settings, "inputs": _merged(document.get("inputs", {}), settings.get("inputs", {}))}
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
    axes = shapes.axes(shapes.skeleton(files[0]))
    given = settings.get("inputs", {})
    _check_given(axes, given)
    inputs_file = settings.get("inputs_file")
    if inputs_file:
        lengths, own = _own_shapes(axes, Path(inputs_file), has_length=bool(asked))
        given, asked = {**own, **given}, asked or lengths
    fitting = [length for length in DEFAULT.lengths if not longest or length <= longest]
    shortest = [longest] if longest else DEFAULT.lengths
    feed: Feeding = {
        "batch_sizes": settings.get("batch_sizes") or _batches(axes, settings.get("inputs", {})),
        "inputs": _merged(bounds.input_facts(*files), given),
        "lengths": asked or fitting or shortest,
    }
    _require_closed(files[0], axes, feed, has_length=bool(asked))
    return feed


def _check_given(axes: Axes, given: Mapping[str, InputFacts]) -> None:
    """Refuse a shape of an input that is not there, or of other fixed sizes."""
    declared = {each.name: each for each in axes.declared}
    for name, facts in given.items():
        shape, each = facts.get("shape", []), declared.get(name)
        asked = f"--shape {name}={'x'.join(map(str, shape))}"
        if each is None:
            raise RecipeError(f"{asked}: no input {name!r}; the file takes {', '.join(declared)}")
        sizes = zip(shape, each.shape, strict=False)
        if len(shape) != len(each.shape) or any(isinstance(size, int) and has != size for has, size in sizes):
            takes = "x".join("?" if size is None else str(size) for size in each.shape)
            raise RecipeError(f"{asked}: the file takes {takes}")


def _own_shapes(axes: Axes, file: Path, *, has_length: bool) -> tuple[list[int], dict[str, InputFacts]]:
    """Give the length of all sequences of an inputs file, and the shapes that its arrays give other free axes.

    Sequences of several lengths have shapes of their own, as those of an encoder and a decoder.
    """
    arrays = read_arrays(file)
    known = [(each, arrays[each.name].shape) for each in axes.declared if each.name in arrays]
    fitting = [(each, shape) for each, shape in known if len(shape) == len(each.shape)]
    lengths: set[int] = set()
    for each, shape in fitting:
        lengths |= {size for axis, size in enumerate(shape) if axes.is_length(each, axis)}
    is_one = has_length or len(lengths) == 1
    own: dict[str, InputFacts] = {}
    for each, shape in fitting:
        taken = [axis for axis in range(len(shape)) if not (is_one and axes.is_length(each, axis))]
        if any(not isinstance(each.shape[axis], int) and axes.batch_axis(each) != axis for axis in taken):
            own[each.name] = {"shape": [size if axis in taken else None for axis, size in enumerate(shape)]}
    return sorted(lengths) if is_one else [], own


def _batches(axes: Axes, given: Mapping[str, InputFacts]) -> list[int]:
    """Give the batch size of the shapes that were asked for, or that the file fixes, or one."""
    places = [(given.get(each.name, {}).get("shape", []), axes.batch_axis(each)) for each in axes.declared]
    sizes = {shape[axis] for shape, axis in places if axis is not None and axis < len(shape)}
    asked = [size for size in sizes if size is not None]
    if len(asked) > 1:
        raise RecipeError(f"--shape: every input should have as many examples, got {sorted(asked)}")
    return asked or ([axes.fixed_batch] if axes.fixed_batch else DEFAULT.batch_sizes)


def _merged(found: Mapping[str, InputFacts], given: Mapping[str, InputFacts]) -> dict[str, InputFacts]:
    return {name: {**found.get(name, {}), **given.get(name, {})} for name in [*found, *(set(given) - set(found))]}


def _require_closed(file: Path, axes: Axes, feed: Feeding, *, has_length: bool) -> None:
    """Refuse a file whose free axes nothing fills; a number of features is never made up, as a length may be."""
    is_filled = has_length or axes.has_text()
    sizes = axes.sizes(1, feed["lengths"][0] if is_filled else None, feed["inputs"])
    for each in axes.declared:
        if None in sizes[each.name]:
            raise RecipeError(f"{file}: {open_axes(each, sizes[each.name])}")


def _of_run(run: Path) -> PlanDocument:
    file = RunDir(run).bench_plan
    try:
        document: PlanDocument | None = read_json(file)
        wrong = misfit(document, PlanDocument, may_lack=True) if document is not None else ""
        has_files = document is None or all({"name", "file"} <= each.keys() for each in document.get("variants", [{}]))
    except (ValueError, OSError) as error:
        raise InputError(f"{file}: damaged, {error}; run the recipe again to write it again") from error
    if document is None:
        raise InputError(f"{run}: no {file.name} there; give the folder of a finished run, or ONNX files")
    if wrong or not has_files:
        raise InputError(f"{file}: damaged, {wrong or 'it lacks files'}; run the recipe again to write it again")
    variants: list[PlannedVariant] = [
        {**variant, "file": str((run / variant["file"]).absolute())} for variant in document["variants"]
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
        "file": str(file.absolute()),
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
    is_free = shapes.axes(shapes.skeleton(file)).has_free_length(feed["inputs"])
    sizes = product(feed["batch_sizes"], feed["lengths"] if is_free else [None])
    return {Shape(*size).name: flops.count(file, *size, feed["inputs"]) for size in sizes}
