"""Find modules by name: the extension files of a folder, and the public names of a package at their first use."""

import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import AfterValidator


def names(package: ModuleType) -> list[str]:
    """Sorted names of the modules in a package; one with a leading underscore is no extension."""
    return sorted(info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_"))


def discover(package: ModuleType) -> dict[str, ModuleType]:
    """Import every module of a package; one that does not import breaks the run."""
    return {name: importlib.import_module(f"{package.__name__}.{name}") for name in names(package)}


def one_of(package: ModuleType) -> "AfterValidator":
    """Validate a recipe word: it must name a file in the package."""
    from pydantic import AfterValidator

    def check(name: str) -> str:
        known = names(package)
        if name not in known:
            raise ValueError(f"no such file in {package.__name__}; choose from {', '.join(known)}")
        return name

    return AfterValidator(check)


def lazily(package: str, **homes: str) -> Callable[[str], Any]:
    """Give the `__getattr__` of a package whose public names are imported at first use, for torch takes seconds.

    ``homes`` gives, for each module of the package, the public names that it defines, between spaces.
    """

    def public(name: str) -> Any:
        for module, names in homes.items():
            if name in names.split():
                return getattr(importlib.import_module(f"{package}.{module}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return public
