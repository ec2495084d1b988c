"""The original model's outputs on the training examples, remembered if that is less work."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from compressor.data.batches import Data, Split, batch_order
from compressor.model import Model
from compressor.progress import steps
from compressor.rundir import chain
from compressor.training import precision
from compressor.training.losses import Answer, captured_relations
from compressor.training.options import Distill, Retrain
from compressor.training.remembered import AnswerFiles, Packed, RememberingTeacher, remembering

BATCH_SIZE = 128
CACHE_SHARE = 0.4  # of the memory, for the file of all hidden states


class Teacher:
    """The original model in evaluation mode, with the outputs that a distillation needs."""

    def __init__(self, original: Model, layers: Sequence[int], wanted: Distill, precision: str) -> None:
        self.model, self.layers, self.wanted, self.precision = original, tuple(layers), wanted, precision
        original.net.eval()

    @torch.no_grad()
    def answer(self, batch: Mapping[str, Tensor], indices: Tensor) -> Answer:
        """Run the original model on a batch; what it answers is on the device of the batch."""
        device, asked = self.model.net.device, next(iter(batch.values())).device
        inputs = {name: tensor.to(device) for name, tensor in batch.items() if name != "labels"}
        with ExitStack() as stack:
            relations = stack.enter_context(captured_relations(self.model, self.wanted.attention_relations > 0))
            stack.enter_context(precision.autocast(self.model.net, self.precision))
            output: Any = self.model.net(**inputs, output_hidden_states=self.wanted.hidden_states > 0)
        states = [output.hidden_states[i + 1].to(asked) for i in self.layers] if self.wanted.hidden_states else []
        return Answer(
            output.logits.float().to(asked), states, {name: each.to(asked) for name, each in relations.items()}
        )


def _parts(teacher: Teacher, split: Split) -> Iterator[Packed]:
    """Run the teacher on every example once, in an order that depends on nothing else.

    This costs one pass over the split, and saves every epoch the original model's forward pass, which is most of a
    training step once the student is small. Hidden states become bfloat16.
    """
    order = list(batch_order(split, BATCH_SIZE, None))
    with steps("caching teacher outputs", len(order)) as progress:
        for n_done, indices in enumerate(order, start=1):
            batch = split.batch(indices)
            yield indices, *_packed(teacher.answer(batch, indices), batch)
            progress.show(n_done, "")


def _packed(answer: Answer, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, states without padding, shape (n_positions, n_layers, n_features), and positions per example."""
    n_examples = len(answer.logits)
    if not answer.hidden_states:
        return answer.logits.cpu(), torch.empty(n_examples, 0, 0), torch.ones(n_examples, dtype=torch.long)
    states = torch.stack(list(answer.hidden_states), dim=2).to("cpu", torch.bfloat16)
    mask = batch.get("attention_mask", torch.ones(states.shape[:2])).bool()
    return answer.logits.cpu(), states[mask], mask.sum(dim=1)


def teacher_for(
    original: Model,
    layers: Sequence[int],
    wanted: Distill,
    precision: str,
    split: Split,
    n_examples: int,
    files: AnswerFiles,
) -> Teacher | RememberingTeacher:
    """Choose the teacher for ``n_examples``: one that remembers its outputs if that is less work and memory holds them.

    They are read at random from a file, which is slow unless the system can keep it in memory. That is judged by the
    memory of the machine, not by what is free, so that a resumed run decides the same way.
    """
    teacher = Teacher(original, layers, wanted, precision)
    n_bytes = n_remembered(teacher, split, n_examples)
    return teacher if n_bytes is None else remembering(files, _parts(teacher, split), len(split), n_bytes)


def n_remembered(teacher: Teacher, split: Split, n_examples: int) -> int | None:
    """Count the bytes of the hidden states that are to be remembered; None if the teacher should run each time."""
    if n_examples < len(split) or teacher.wanted.attention_relations:
        return None
    n_bytes = n_state_bytes(teacher, split)
    return None if n_bytes > CACHE_SHARE * _memory_bytes() else n_bytes


def n_state_bytes(teacher: Teacher, split: Split) -> int:
    """Count the bytes of the hidden states of all examples, from those of the first one."""
    first, length = teacher.answer(split.batch([0]), torch.tensor([0])).hidden_states, split.lengths[0]
    n_positions = sum(split.lengths) * (first[0].shape[1] if first else length) // length
    return n_positions * sum(states.shape[2] for states in first) * torch.bfloat16.itemsize


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class Originals:
    """The original model, and the teachers made from it, which all stages share."""

    def __init__(
        self, model: Model, reload: Callable[[], Model], data: Data, answers: AnswerFiles, n_examples: int = 0
    ) -> None:
        """Start without teachers.

        ``reload`` reads the original again after `release`. ``answers`` has the key of the original and its data,
        ``n_examples`` is the number of examples that all distillations of the run process.
        """
        self._model: Model | None = model
        self.reload, self.data, self.answers, self.n_examples = reload, data, answers, n_examples
        self._teachers: dict[str, Teacher | RememberingTeacher] = {}

    @property
    def model(self) -> Model:
        """The original model, read again if it was released."""
        if self._model is None:
            self._model = self.reload()
        return self._model

    def release(self) -> None:
        """Let go of the network until it is needed again; a teacher that remembers needs none."""
        self._model = None
        self._teachers = {key: each for key, each in self._teachers.items() if isinstance(each, RememberingTeacher)}

    def n_remembered(self, layers: tuple[int, ...], retrain: Retrain) -> int:
        """Count the bytes of hidden states that `teacher` would write."""
        assert retrain.distill is not None
        chosen = precision.chosen(self.model.net, retrain.precision)
        teacher = Teacher(self.model, layers, retrain.distill, chosen)
        return n_remembered(teacher, self.data.augmented, self.n_examples) or 0

    def teacher(self, layers: tuple[int, ...], retrain: Retrain) -> Teacher | RememberingTeacher:
        """Teacher for a student that has these layers."""
        assert retrain.distill is not None
        wanted = retrain.distill
        key = chain(
            self.answers.key, layers, wanted.hidden_states > 0, wanted.attention_relations > 0, retrain.precision
        )
        if key not in self._teachers:
            self._teachers.clear()
            self.model.net.to(Accelerator().device)  # where the student is trained
            chosen, files = precision.chosen(self.model.net, retrain.precision), replace(self.answers, key=key)
            made = teacher_for(self.model, layers, wanted, chosen, self.data.augmented, self.n_examples, files)
            self._teachers[key] = made
        return self._teachers[key]
