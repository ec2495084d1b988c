"""`compress bundle`: one folder or zip archive that measures ONNX files wherever Python has numpy and onnxruntime."""

import shutil
import zipapp
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np

import compressor.bench
from compressor.bench import answers, sessions
from compressor.bench.inputs import read_inputs
from compressor.bench.plan import Plan, parsed
from compressor.bench.result import PlanDocument, PlannedVariant
from compressor.errors import RecipeError, RunDirError
from compressor.files import write_json
from compressor.graphs import content
from compressor.temporary import temporary_folder

PROGRAM, PLAN, INPUTS, EXPECTED, PROFILE = "bench.pyz", "plan.json", "inputs.npz", "expected.npz", "profile.yaml"
OTHER_ARCHIVES = (".7z", ".bz2", ".gz", ".tar", ".tgz", ".xz")
RUNTIMES = {  # the first that opens files of an opset, or of an IR version; measured as in docs/how-to/board.md
    "opset": {19: "1.15", 20: "1.17", 21: "1.18", 22: "1.21", 23: "1.23", 25: "1.24.1", 26: "1.25"},
    "ir_version": {9: "1.15", 10: "1.18", 11: "1.23", 13: "1.24.1"},
}


class Needs(TypedDict):
    """What a board must have to open the files of a bundle."""

    opset: int
    min_onnxruntime: str | None


def write(plan: PlanDocument, out: Path) -> PlanDocument:
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
    compressor.bench.errors.InputError
        If a file cannot be run at a shape of the plan; `compressor.errors.InputError`, which derives from it, if a
        file is damaged.
    """
    if out.exists() and not _is_bundle(out):
        raise RunDirError(f"{out}: exists and is not a bundle, or holds more than one; choose another --out")
    if out.suffix in OTHER_ARCHIVES:
        raise RecipeError(f"{out}: of archives only .zip is written; give a folder or a .zip")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(out.parent, ".bundle-") as home:
            bundled = fill(plan, home.path)
            _put(home.path, out)
    except OSError as error:
        raise RunDirError(f"{out}: cannot be written: {error.strerror}; choose another --out") from error
    return bundled


def fill(plan: PlanDocument, folder: Path) -> PlanDocument:
    """Write the files of a bundle into an empty folder, and return its plan."""
    zipapp.create_archive(Path(compressor.bench.__path__[0]), folder / PROGRAM, filter=_is_source)
    variants = [_copied(variant, folder / str(index)) for index, variant in enumerate(plan["variants"])]
    bundled: PlanDocument = {**plan, "variants": variants}
    if profile := plan.get("energy_model"):
        bundled["energy_model"] = shutil.copyfile(profile, folder / PROFILE).name
    needs = _needs(folder, variants)
    bundled |= {"opset": needs["opset"], "min_onnxruntime": needs["min_onnxruntime"]}
    _save(_inputs(parsed(bundled, folder)), folder / INPUTS)
    bundled["inputs_file"] = INPUTS
    _save(answers.answers(parsed(bundled, folder)), folder / EXPECTED)
    bundled["expected_file"] = EXPECTED
    write_json(folder / PLAN, bundled)
    return bundled


def _copied(variant: PlannedVariant, folder: Path) -> PlannedVariant:
    """Copy an ONNX file, and the weights beside it, into a folder of their own."""
    file = Path(variant["file"])
    weights = content.external_files(file)
    for place in [file.name, *weights]:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.parent / place, folder / place)
    return {**variant, "file": f"{folder.name}/{file.name}", "weights": weights}


def _needs(folder: Path, variants: list[PlannedVariant]) -> Needs:
    """Give the newest operations in the files, and the onnxruntime that first opens them all."""
    described = [content.describe(folder / variant["file"]) for variant in variants]
    opset = max(description["opset"].get("ai.onnx", 0) for description in described)
    ir_version = max(description["ir_version"] for description in described)
    oldest = [_oldest("opset", opset), _oldest("ir_version", ir_version)]
    known = [version for version in oldest if version is not None]
    newest = max(known, key=_numbers) if len(known) == len(oldest) else None
    return {"opset": opset, "min_onnxruntime": newest}


def _oldest(key: str, version: int) -> str | None:
    """Give the first onnxruntime that opens files of a version; None if none is known to."""
    return next((name for number, name in RUNTIMES[key].items() if number >= version), None)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def _inputs(plan: Plan) -> dict[str, np.ndarray]:
    """Make the inputs of all files at the largest shape; the bench cuts smaller ones from them."""
    made = read_inputs(**plan.fed)
    arrays: dict[str, np.ndarray] = {}
    for variant in plan.variants:
        session = sessions.open_session(plan.path(variant), 1)
        arrays |= made.at(session, max(plan.batch_sizes), max(plan.lengths))
    return arrays


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
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    own = {PROGRAM, PLAN, INPUTS, EXPECTED, PROFILE}
    return PROGRAM in names and all(name in own or name.isdigit() for name in names)


def _is_source(path: Path) -> bool:
    return path.suffix == ".py"
