"""The original model's outputs on the training examples, cached if they fit in memory."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from compressor.data.batches import Data, Split, batch_order
from compressor.model import Model
from compressor.progress import steps
from compressor.training import precision
from compressor.training.losses import Answer, captured_relations
from compressor.training.options import Distill, Retrain

BATCH_SIZE = 128
CACHE_SHARE = 0.4  # of the memory, for all cached hidden states


class Teacher:
    """The original model in evaluation mode, with the outputs that a distillation needs."""

    def __init__(self, original: Model, layers: Sequence[int], wanted: Distill, precision: str) -> None:
        self.model, self.layers, self.wanted, self.precision = original, tuple(layers), wanted, precision
        original.net.eval()

    @torch.no_grad()
    def answer(self, batch: Mapping[str, Tensor], indices: Tensor) -> Answer:
        """Run the original model on a batch."""
        device = self.model.net.device
        inputs = {name: tensor.to(device) for name, tensor in batch.items() if name != "labels"}
        with ExitStack() as stack:
            relations = stack.enter_context(captured_relations(self.model, self.wanted.attention_relations > 0))
            stack.enter_context(precision.autocast(self.model.net, self.precision))
            output: Any = self.model.net(**inputs, output_hidden_states=self.wanted.hidden_states > 0)
        states = [output.hidden_states[i + 1] for i in self.layers] if self.wanted.hidden_states else []
        return Answer(output.logits.float(), states, dict(relations))


class RememberingTeacher:
    """A teacher that runs on every example of a split once, in a fixed order, and caches its outputs.

    This costs one pass over the split, and saves every epoch the original model's forward pass, which is most of a
    training step once the student is small. Hidden states are cached in bfloat16.
    """

    def __init__(self, teacher: Teacher, split: Split, n_positions: int) -> None:
        order = list(batch_order(split, BATCH_SIZE, None))
        self.lengths = torch.ones(len(split), dtype=torch.long)
        self.starts = torch.zeros(len(split), dtype=torch.long)
        end = 0
        with steps("caching teacher outputs", len(order)) as progress:
            for n_done, indices in enumerate(order, start=1):
                batch = split.batch(indices)
                logits, states, self.lengths[indices] = _packed(teacher.answer(batch, indices), batch)
                if end == 0:
                    self.logits = logits.new_empty(len(split), logits.shape[1])
                    self.states = states.new_empty(n_positions, *states.shape[1:])
                self.logits[indices], self.states[end : end + len(states)] = logits, states
                self.starts[indices] = end + self.lengths[indices].cumsum(0) - self.lengths[indices]
                end += len(states)
                progress.show(n_done, "")

    def answer(self, batch: Mapping[str, Tensor], indices: Tensor) -> Answer:
        """Look up the original model's outputs on these examples."""
        lengths = self.lengths[indices, None]
        position = torch.arange(int(lengths.max())).minimum(lengths - 1)  # padding repeats the last one, and is masked
        states = self.states[self.starts[indices, None] + position]
        device = next(iter(batch.values())).device
        return Answer(self.logits[indices].to(device), list(states.to(device).unbind(dim=2)), {})


def _packed(answer: Answer, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, states without padding, shape (n_positions, n_layers, n_features), and positions per example."""
    n_examples = len(answer.logits)
    if not answer.hidden_states:
        return answer.logits.cpu(), torch.empty(n_examples, 0, 0), torch.ones(n_examples, dtype=torch.long)
    states = torch.stack(list(answer.hidden_states), dim=2).to("cpu", torch.bfloat16)
    mask = batch.get("attention_mask", torch.ones(states.shape[:2])).bool()
    return answer.logits.cpu(), states[mask], mask.sum(dim=1)


def teacher_for(
    original: Model, layers: Sequence[int], wanted: Distill, precision: str, split: Split, n_examples: int
) -> Teacher | RememberingTeacher:
    """Choose the teacher for ``n_examples``: one that caches its outputs if that is less work and fits in memory."""
    teacher = Teacher(original, layers, wanted, precision)
    if n_examples < len(split) or wanted.attention_relations:
        return teacher
    first, length = teacher.answer(split.batch([0]), torch.tensor([0])), split.lengths[0]
    n_positions = sum(split.lengths) * (first.hidden_states[0].shape[1] if first.hidden_states else length) // length
    if n_positions * sum(states.shape[2] for states in first.hidden_states) * 2 > CACHE_SHARE * _memory_bytes():
        return teacher
    return RememberingTeacher(teacher, split, n_positions)


def _memory_bytes() -> int:
    """Memory of this machine: all of it, not only what is free, so that a resumed run decides the same way."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class Originals:
    """The original model, and the teachers made from it, which all stages share."""

    def __init__(self, model: Model, data: Data, n_examples: int = 0) -> None:
        """``n_examples``: number of examples that all distillations of the run process."""
        self.model, self.data, self.n_examples = model, data, n_examples
        self._teachers: dict[str, Teacher | RememberingTeacher] = {}

    def teacher(self, layers: tuple[int, ...], retrain: Retrain) -> Teacher | RememberingTeacher:
        """Teacher for a student that has these layers."""
        assert retrain.distill is not None
        wanted, chosen = retrain.distill, precision.chosen(self.model.net, retrain.precision)
        key = json.dumps([layers, wanted.hidden_states > 0, wanted.attention_relations > 0, chosen])
        if key not in self._teachers:
            self._teachers = {
                key: teacher_for(self.model, layers, wanted, chosen, self.data.augmented, self.n_examples)
            }
        return self._teachers[key]
