"""Names of tasks by optimum's tables: the usual name, its auto class, and the task of a checkpoint."""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

OURS = "tabular-"
"""Start of the names of tasks that only this package has; they are left unchanged."""

_ALIASES = {"ner": "token-classification", "sentiment-analysis": "text-classification"}
"""Other names of transformers' pipelines that optimum lacks; importing `transformers.pipelines` is slow."""


def canonical(name: str) -> str:
    """Return the usual name of a task, given any of its names; an unknown name is returned unchanged.

    Examples
    --------
    >>> canonical("sentiment-analysis"), canonical("translation"), canonical("tabular-regression")
    ('text-classification', 'text2text-generation', 'tabular-regression')
    """
    if name.startswith(OURS):
        return name
    usual: str = _tasks_manager().map_from_synonym(_ALIASES.get(name, name))
    return usual


def auto_class(task: str, model_type: str = "") -> type:
    """Return transformers' auto class for a task.

    Parameters
    ----------
    task : str
        Any name that `canonical` accepts.
    model_type : str, optional
        That of the config. Needed if a task has several auto classes, such as ``automatic-speech-recognition``.

    Raises
    ------
    ValueError
        If optimum has no such task, or none of its auto classes fits the model type.

    Examples
    --------
    >>> auto_class("text-classification").__name__
    'AutoModelForSequenceClassification'
    """
    manager = _tasks_manager()
    try:  # "" instead of optimum's own default None: with that it guesses, and prints a warning
        auto: type = manager.get_model_class_for_task(canonical(task), model_type=model_type)
    except KeyError:
        near = nearest(task, manager.get_all_tasks())
        hint = f"did you mean {near!r}?" if near else "see the keys of optimum's TasksManager"
        raise ValueError(f"task: no auto class is known for {task!r}; {hint}") from None
    except ValueError as error:
        raise ValueError(f"task: no auto class for {task!r} takes model type {model_type!r}; name another") from error
    return auto


def inferred(config: "PreTrainedConfig") -> str | None:
    """Return the task of a checkpoint from the class that its config names; None if optimum does not list the class.

    Nothing is loaded or looked up on the Hub. If a class serves several tasks, the first in optimum's table is taken,
    except that an encoder-decoder is text-to-text: BART's class fills masks as well.
    """
    tables: dict[str, dict[str, Any]] = _tasks_manager()._TRANSFORMERS_TASKS_TO_MODEL_MAPPINGS
    named = set(config.architectures or ())
    tasks = [task for task, nets in tables.items() if named.intersection(_several(nets.get(config.model_type)))]
    if config.is_encoder_decoder and "text2text-generation" in tasks:
        return "text2text-generation"
    return tasks[0] if tasks else None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to a mistyped one; None if none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return close[0] if close else None


def _several(nets: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Turn an entry of optimum's table into a tuple: most are one name, those of DeiT and Perceiver are several."""
    return (nets,) if isinstance(nets, str) else tuple(nets or ())


def _tasks_manager() -> Any:
    """Import optimum at first use: it brings in torch."""
    from optimum.exporters.tasks import TasksManager

    return TasksManager
