"""Find extension files: every module of a package, by its file name."""

import importlib
import pkgutil
from types import ModuleType

from pydantic import AfterValidator


def names(package: ModuleType) -> list[str]:
    """Sorted names of the modules in a package; one with a leading underscore is no extension."""
    return sorted(info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_"))


def discover(package: ModuleType) -> dict[str, ModuleType]:
    """Import every module of a package; one that does not import breaks the run."""
    return {name: importlib.import_module(f"{package.__name__}.{name}") for name in names(package)}


def one_of(package: ModuleType) -> AfterValidator:
    """Validate a recipe word: it must name a file in the package."""

    def check(name: str) -> str:
        known = names(package)
        if name not in known:
            raise ValueError(f"no such file in {package.__name__}; choose from {', '.join(known)}")
        return name

    return AfterValidator(check)
