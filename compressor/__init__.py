"""Compress trained networks: projection, exact removal, ONNX export, and measured results."""

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compressor import balls, surgery
    from compressor.model import load
    from compressor.recipe import Recipe, load_recipe
    from compressor.report.document import RecipePlan, Report

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime 1.31 would send telemetry when it is imported

__version__ = "0.1.0"
__all__ = ["Recipe", "__version__", "balls", "check", "load", "load_recipe", "run", "surgery"]

_HOMES = {"Recipe": "recipe", "load": "model", "load_recipe": "recipe"}
__path__.append(str(Path(__file__).parent / "deprecated"))  # modules under their old names, for one version


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(_module(_HOMES[name]), name)
    if name in __all__:
        return _module(name)
    raise AttributeError(f"module 'compressor' has no attribute {name!r}")


def _module(name: str) -> Any:
    """Import at first use: torch takes seconds, and everything below may import the version from here."""
    return importlib.import_module(f"compressor.{name}")


def run(
    recipe: "str | Path | Mapping[str, Any] | Recipe",
    run_dir: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> "Report":
    """Run a recipe, or the unfinished part of it, and return the report.

    Parameters
    ----------
    recipe : path or name of a recipe file, mapping, or Recipe
        What to run.
    run_dir : path, optional
        Where everything is written; by default ``runs/<name of the recipe file>``.
    overrides : sequence of str
        Settings such as ``stages.0.retrain.steps=5``, as ``--set`` takes them.

    Returns
    -------
    dict
        The content of ``report.json``.

    Raises
    ------
    ValueError
        If ``run_dir`` is missing and ``recipe`` is not a file.
    CompressorError
        As `compressor.errors` lists them; `GateMissed` after everything is written.
    """
    from compressor.recipe import packaged

    file = recipe if isinstance(recipe, str | Path) else None
    if run_dir is None:
        if file is None:
            raise ValueError("run_dir is missing; give one, because the recipe is not a file to name it after")
        run_dir = packaged.run_dir(file)
    resolved = _resolved(recipe, overrides)
    report: Report = _module("pipeline").run(resolved, Path(run_dir), recipe_file=str(file or ""))
    return report


def check(recipe: "str | Path | Mapping[str, Any] | Recipe", overrides: Sequence[str] = ()) -> "RecipePlan":
    """Resolve a recipe with its model and data, and return the plan; nothing is trained."""
    plan: RecipePlan = _module("pipeline").check(_resolved(recipe, overrides))
    return plan


def _resolved(recipe: "str | Path | Mapping[str, Any] | Recipe", overrides: Sequence[str]) -> "Recipe":
    from compressor.recipe import Recipe, load_recipe, parse

    if isinstance(recipe, str | Path):
        return load_recipe(recipe, overrides)
    return parse(recipe.model_dump(mode="json") if isinstance(recipe, Recipe) else recipe, overrides)
