"""What is to be measured: the files of a run, or any ONNX files with what can be known of them."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from compressor.bench.inputs import own_lengths
from compressor.bench.plan import Points, size_name
from compressor.errors import InputError, RecipeError
from compressor.files import read_json
from compressor.graphs import bounds, content, flops, shapes
from compressor.rundir import RunDir

DEFAULT = Points()


def plan(targets: Sequence[Path], settings: Mapping[str, Any]) -> dict[str, Any]:
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
        If there is no finished run, or a file is damaged or missing.
    RecipeError
        If a length is more than a file can read.
    """
    if len(targets) == 1 and targets[0].is_dir():
        return {**_of_run(targets[0]), **settings}
    twice = next((file for file in targets if targets.count(file) > 1), None)
    if twice:
        raise RecipeError(f"{twice}: given twice; compress gate {twice} --self-test measures a file against itself")
    return _of_files(targets, settings)


def feeding(files: Sequence[Path], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give the keys of a plan that say what files are fed with: bounds of ids, sizes that all of them can read."""
    longest = bounds.max_length(*files)
    asked = settings.get("lengths")
    if asked and longest and max(asked) > longest:
        raise RecipeError(f"--length {max(asked)}: the files read at most {longest}")
    if settings.get("inputs_file") and not asked:
        names = {each["name"] for file in files for each in content.describe(file)["inputs"]}
        asked = own_lengths(Path(settings["inputs_file"]), names)
    fitting = [length for length in DEFAULT.lengths if not longest or length <= longest]
    batch_sizes = settings.get("batch_sizes") or _fixed_batches(files) or DEFAULT.batch_sizes
    return {"batch_sizes": batch_sizes, "inputs": bounds.input_facts(*files), "lengths": asked or fitting or [longest]}


def _fixed_batches(files: Sequence[Path]) -> list[int]:
    """Give the batch size that the files leave no choice of."""
    shapes_ = [each["shape"] for file in files for each in content.describe(file)["inputs"] if each["shape"]]
    fixed = {shape[0] for shape in shapes_ if isinstance(shape[0], int) and shape[0] > 0}
    return sorted(fixed) if len(fixed) == 1 else []


def _of_run(run: Path) -> dict[str, Any]:
    file = RunDir(run).bench_plan
    found: dict[str, Any] | None = read_json(file)
    if found is None:
        raise InputError(f"{run}: no {file.name} there; give the folder of a finished run, or ONNX files")
    variants = [{**variant, "file": str((run / variant["file"]).resolve())} for variant in found["variants"]]
    return found | {"variants": variants}


def _of_files(files: Sequence[Path], settings: Mapping[str, Any]) -> dict[str, Any]:
    found = {"format": 1, **settings, **feeding(files, settings)}
    found["variants"] = [
        {
            "name": str(file),
            "kind": "result" if index else "original",
            "file": str(file.resolve()),
            "weights": content.external_files(file),
            **dict.fromkeys(("quantized", "accuracy", "n_examples", "split")),
            "n_params": content.describe(file)["n_params"],
            "n_flops": _n_flops(file, found),
        }
        for index, file in enumerate(files)
    ]
    return found


def _n_flops(file: Path, found: Mapping[str, Any]) -> dict[str, int | None]:
    """Count the FLOPs of a file at each size of a plan, by the names that sizes have in the facts of a run."""
    is_text = shapes.has_free_length(shapes.skeleton(file))
    sizes = product(found["batch_sizes"], found["lengths"] if is_text else [None])
    return {size_name(*size): flops.count(file, *size) for size in sizes}
