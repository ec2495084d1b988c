"""Find modules by name: the extension files of a folder, and the public names of a package at their first use."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from pydantic import AfterValidator

Extension = TypeVar("Extension")


def names(package: ModuleType) -> list[str]:
    """Sorted names of the modules in a package; one with a leading underscore is not an extension."""
    return sorted(info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_"))


def discover(package: ModuleType, protocol: type[Extension]) -> dict[str, Extension]:
    """Import every module of a package, each of which must define the names of the protocol.

    Parameters
    ----------
    package : module
        A folder of extensions, such as ``compressor.balls``.
    protocol : type
        The protocol that the folder declares in its ``__init__``, such as ``compressor.balls.Ball``.

    Returns
    -------
    dict
        The modules by file name, sorted.

    Raises
    ------
    ImportError
        If a file does not import.
    TypeError
        If a file does not define a required name.
    """
    return {name: _checked(importlib.import_module(f"{package.__name__}.{name}"), protocol) for name in names(package)}


def _checked(module: ModuleType, protocol: type[Extension]) -> Extension:
    missing = [name for name in _required(protocol) if not hasattr(module, name)]
    if missing:
        kind = protocol.__name__
        raise TypeError(f"{module.__name__}: not a {kind}, {', '.join(missing)} missing; define all names of {kind}")
    return cast(Extension, module)  # only the names are checked, not their types


def _required(protocol: type) -> list[str]:
    """Public names that a protocol and its bases declare, in their order."""
    bases = [base for base in reversed(protocol.__mro__) if base not in (object, Protocol, Generic)]
    declared = [name for base in bases for name in (*inspect.get_annotations(base), *vars(base))]
    return [name for name in dict.fromkeys(declared) if not name.startswith("_")]


def one_of(package: ModuleType, *others: str) -> "AfterValidator":
    """Validate a recipe word: it must name a file in the package, or be one of the others."""
    from pydantic import AfterValidator

    def check(name: str) -> str:
        known = [*others, *names(package)]
        if name not in known:
            raise ValueError(f"no such file in {package.__name__}; choose from {', '.join(known)}")
        return name

    return AfterValidator(check)


def lazily(package: str, **homes: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package whose public names are imported at first use, as torch takes seconds.

    ``homes`` lists, for each module of the package, the public names that it defines, separated by spaces.
    """

    def public(name: str) -> Any:
        for module, names in homes.items():
            if name in names.split():
                return getattr(importlib.import_module(f"{package}.{module}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return public
