"""Scores of units on calibration rows: the passes that a criterion needs, and what it makes of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from compressor import surgery
from compressor.criteria import Criterion, State
from compressor.model import Model
from compressor.numerics.classification import NO_LABEL
from compressor.pruning.replay import Batches
from compressor.surgery import Width, readers


def losses(
    model: Model, widths: Sequence[Width], criterion: Criterion, name: str, state: State, batches: Batches
) -> dict[str, Tensor]:
    """Give for each unit of each width what the loss grows by without it, in the criterion's estimate.

    Dead units have -1, so that they go first. Unless training did it already, the criterion collects from calibration
    rows.
    """
    _collect_(model, widths, criterion, name, state, batches)
    found = {}
    for width in widths:
        scores = criterion.scores(state, model.net, width)
        if criterion.TIMES_WEIGHTS:
            scores = scores * surgery.columns(model.net, width).double().norm(dim=0).cpu()
        squares = scores if criterion.DEGREE == 2 else scores.square()
        found[width.name] = squares.masked_fill(surgery.dead_units(model.net, width).cpu(), -1.0)
    return found


def _collect_(
    model: Model, widths: Sequence[Width], criterion: Criterion, name: str, state: State, batches: Batches
) -> None:
    """Run the network on calibration rows, with backward passes if the criterion needs them."""
    if criterion.NEEDS_LABELS and any(bool((batch["labels"] == NO_LABEL).any()) for batch in batches):
        raise ValueError(f"criterion: {name!r} needs labels, and some calibration rows have none; choose another")
    if criterion.READS in ("weights", "training"):
        return
    is_backward = criterion.READS == "backward"
    with criterion.watching(state, model.net, widths, goal=0.0) as after_backward, _only_readers(model, widths):
        for batch in batches:
            inputs = {key: tensor for key, tensor in batch.items() if key != "labels"}
            with torch.set_grad_enabled(is_backward):
                outputs = model.net(**inputs)
            if is_backward:
                labels = _labels(batch["labels"], outputs[model.task.file.OUTPUT_NAMES[0]])
                model.task.file.loss(outputs, labels, 1.0).backward()
                after_backward()
                model.net.zero_grad(set_to_none=True)


def _labels(labels: Tensor, logits: Tensor) -> Tensor:
    """Labels of the rows; a row without one takes the network's own answer."""
    return torch.where(labels == NO_LABEL, logits.argmax(dim=-1), labels)


@contextmanager
def _only_readers(model: Model, widths: Sequence[Width]) -> Iterator[None]:
    """While open, of all weights only those of consumers have gradients: no criterion reads the others'."""
    wanted = {id(model.net.get_submodule(path).get_parameter("weight")) for path in readers.names(widths)}
    frozen = [each for each in model.net.parameters() if each.requires_grad and id(each) not in wanted]
    for each in frozen:
        each.requires_grad_(False)
    try:
        yield
    finally:
        for each in frozen:
            each.requires_grad_(True)
