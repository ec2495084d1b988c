"""The recipes that ship with the package: their folder, names and summaries."""

from pathlib import Path

from compressor.errors import RecipeError
from compressor.recipe.strict_yaml import nearest


def folder() -> Path:
    """Return the folder of packaged recipes: inside an installed package, beside it in a checkout."""
    installed = Path(__file__).parent / "packaged"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "recipes"


def find(name: str | Path) -> Path:
    """Return the recipe file at this path, or else the packaged recipe of this name."""
    path = Path(name)
    if path.is_file():
        return path
    packaged = {recipe.name: recipe for recipe in _recipes()}
    if str(path) in packaged:
        return packaged[str(path)]
    if path.is_dir():
        raise RecipeError(f"{name}: is a folder; give the .yaml file in it")
    raise RecipeError(f"{name}: no such file or packaged recipe; {nearest(path.name, packaged)}")


def run_dir(name: str | Path) -> Path:
    """Return the default run directory of a recipe."""
    return Path("runs", Path(name).stem)


def summaries() -> dict[str, str]:
    """Return the first comment line of each packaged recipe, by file name."""
    return {recipe.name: _first_line(recipe).lstrip("# ") for recipe in _recipes()}


def _recipes() -> list[Path]:
    return sorted(folder().glob("*.yaml"))


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().strip()
