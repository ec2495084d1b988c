"""Names of tasks by optimum's tables: one name for each, its auto class, and the task of a checkpoint."""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

OURS = "tabular-"
"""Start of the names of tasks that only this package knows; they are left as they are."""

_ALIASES = {"ner": "token-classification", "sentiment-analysis": "text-classification"}
"""Other names of transformers' pipelines, as far as optimum lacks them; importing `transformers.pipelines` is slow."""


def canonical(name: str) -> str:
    """Give the one name of a task that several are in use for; a name that nobody knows comes back unchanged.

    Examples
    --------
    >>> canonical("sentiment-analysis"), canonical("translation"), canonical("tabular-regression")
    ('text-classification', 'text2text-generation', 'tabular-regression')
    """
    if name.startswith(OURS):
        return name
    found: str = _tasks_manager().map_from_synonym(_ALIASES.get(name, name))
    return found


def auto_class(task: str, model_type: str = "") -> type:
    """Give transformers' auto class for a task.

    Parameters
    ----------
    task : str
        Any name that `canonical` knows.
    model_type : str, optional
        Of the config. Needed where a task has several auto classes, such as ``automatic-speech-recognition``.

    Raises
    ------
    ValueError
        If optimum knows no such task, or no auto class of it fits the model type.

    Examples
    --------
    >>> auto_class("text-classification").__name__
    'AutoModelForSequenceClassification'
    """
    manager = _tasks_manager()
    try:  # "" instead of optimum's own default None: with that it guesses, and prints a warning
        found: type = manager.get_model_class_for_task(canonical(task), model_type=model_type)
    except KeyError:
        near = nearest(task, manager.get_all_tasks())
        hint = f"did you mean {near!r}?" if near else "see the keys of optimum's TasksManager"
        raise ValueError(f"task: no auto class is known for {task!r}; {hint}") from None
    except ValueError as error:
        raise ValueError(f"task: no auto class for {task!r} takes model type {model_type!r}; name another") from error
    return found


def inferred(config: "PreTrainedConfig") -> str | None:
    """Give the task of a checkpoint by the network that its config names; None if optimum knows no such network.

    Nothing is loaded or looked up on the Hub. Where a network stands for several tasks, the first in optimum's table
    is taken, but text-to-text for a network of encoder and decoder: BART's fills masks as well.
    """
    tables: dict[str, dict[str, Any]] = _tasks_manager()._TRANSFORMERS_TASKS_TO_MODEL_MAPPINGS
    named = set(config.architectures or ())
    found = [task for task, nets in tables.items() if named.intersection(_several(nets.get(config.model_type)))]
    if config.is_encoder_decoder and "text2text-generation" in found:
        return "text2text-generation"
    return found[0] if found else None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Give the known name that a mistyped one resembles most; None if none does."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return close[0] if close else None


def _several(nets: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Make one form of optimum's entries: most are a name, those of DeiT and Perceiver are several."""
    return (nets,) if isinstance(nets, str) else tuple(nets or ())


def _tasks_manager() -> Any:
    """Import optimum at first use: it brings in torch."""
    from optimum.exporters.tasks import TasksManager

    return TasksManager
