"""`compress bundle`: one folder or zip archive that measures ONNX files wherever Python has numpy and onnxruntime."""

import shutil
import tempfile
import zipapp
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import compressor.bench
from compressor.bench import answers, sessions
from compressor.bench.inputs import read_inputs
from compressor.bench.plan import Plan
from compressor.errors import RecipeError, RunDirError
from compressor.files import write_json
from compressor.graphs import content

PROGRAM, PLAN, INPUTS, EXPECTED, PROFILE = "bench.pyz", "plan.json", "inputs.npz", "expected.npz", "profile.yaml"
OTHER_ARCHIVES = (".7z", ".bz2", ".gz", ".tar", ".tgz", ".xz")
RUNTIMES = {  # the first that opens files of an opset, or of an IR version; measured as in docs/how-to/board.md
    "opset": {19: "1.15", 20: "1.17", 21: "1.18", 22: "1.21", 23: "1.23", 25: "1.24.1", 26: "1.25"},
    "ir_version": {9: "1.15", 10: "1.18", 11: "1.23", 13: "1.24.1"},
}


def write(plan: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Write a bundle: the bench as a program, the files, their inputs, and what they answer here.

    Parameters
    ----------
    plan : mapping
        A plan of the bench with absolute file names.
    out : Path
        Folder, or a file that ends in ``.zip``. An older bundle there is replaced; anything else is refused, and so is
        a folder with anything else in it, such as what was measured there.

    Returns
    -------
    dict
        The plan that lies in it.

    Raises
    ------
    RunDirError
        If something else lies at ``out``, or it cannot be written.
    InputError
        If a file is damaged, or cannot be run at a shape of the plan.
    """
    if out.exists() and not _is_bundle(out):
        raise RunDirError(f"{out}: exists and is no bundle, or holds more than one; choose another --out")
    if out.suffix in OTHER_ARCHIVES:
        raise RecipeError(f"{out}: of archives only .zip is written; give a folder or a .zip")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".bundle-", dir=out.parent) as name:
            folder = Path(name, "bundle")
            folder.mkdir()
            found = fill(plan, folder)
            _put(folder, out)
    except OSError as error:
        raise RunDirError(f"{out}: cannot be written: {error.strerror}; choose another --out") from error
    return found


def fill(plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write the files of a bundle into an empty folder, and return its plan."""
    zipapp.create_archive(Path(compressor.bench.__path__[0]), folder / PROGRAM, filter=_is_source)
    found = dict(plan)
    found["variants"] = [_copied(each, folder / str(index)) for index, each in enumerate(plan["variants"])]
    if plan.get("energy_model"):
        found["energy_model"] = shutil.copyfile(plan["energy_model"], folder / PROFILE).name
    found |= _needs(folder, found["variants"])
    known = Plan(**{key: value for key, value in found.items() if key != "format"}, folder=folder)
    _save(_inputs(known), folder / INPUTS)
    _save(answers.answers(replace(known, inputs_file=INPUTS)), folder / EXPECTED)
    found |= {"inputs_file": INPUTS, "expected_file": EXPECTED}
    write_json(folder / PLAN, found)
    return found


def _copied(variant: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Copy an ONNX file, and the weights beside it, into a folder of their own."""
    file = Path(variant["file"])
    weights = content.external_files(file)
    for place in [file.name, *weights]:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.parent / place, folder / place)
    return {**variant, "file": f"{folder.name}/{file.name}", "weights": weights}


def _needs(folder: Path, variants: list[dict[str, Any]]) -> dict[str, Any]:
    """Tell the newest operations in the files, and the onnxruntime that first opens them all."""
    described = [content.describe(folder / each["file"]) for each in variants]
    versions = {
        "opset": max(each["opset"].get("ai.onnx", 0) for each in described),
        "ir_version": max(each["ir_version"] for each in described),
    }
    oldest = [next((name for n, name in RUNTIMES[key].items() if n >= versions[key]), None) for key in versions]
    newer = None if None in oldest else max(filter(None, oldest), key=lambda name: [int(n) for n in name.split(".")])
    return {"opset": versions["opset"], "min_onnxruntime": newer}


def _inputs(plan: Plan) -> dict[str, np.ndarray]:
    """Make the inputs of all files at the largest shape, of which the bench takes parts."""
    made = read_inputs(**plan.fed)
    found: dict[str, np.ndarray] = {}
    for variant in plan.variants:
        session = sessions.open_session(plan.path(variant), 1)
        found |= made.at(session, max(plan.batch_sizes), max(plan.lengths))
    return found


def _save(arrays: Mapping[str, np.ndarray], file: Path) -> None:
    """Write an .npz file; numpy's own function takes some names of arrays for its options."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _put(folder: Path, out: Path) -> None:
    """Move a finished folder into its place, or pack it there."""
    if out.suffix == ".zip":
        packed = shutil.make_archive(str(folder), "zip", folder)
        Path(packed).replace(out)
        return
    if out.exists():
        shutil.rmtree(out)
    folder.replace(out)


def _is_bundle(path: Path) -> bool:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return PROGRAM in archive.namelist()
    names = {each.name for each in path.iterdir()} if path.is_dir() else set()
    own = {PROGRAM, PLAN, INPUTS, EXPECTED, PROFILE}
    return PROGRAM in names and all(name in own or name.isdigit() for name in names)


def _is_source(path: Path) -> bool:
    return path.suffix == ".py"
