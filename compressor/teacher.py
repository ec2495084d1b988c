"""What the original model says of the training examples, remembered where that fits in memory."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from compressor.data import Split, batch_order
from compressor.losses import Answer, captured_relations
from compressor.model import Model
from compressor.options import Distill
from compressor.precision import autocast
from compressor.progress import steps

BATCH_SIZE = 128
CACHE_BYTES = 6 * 2**30  # for all remembered hidden states


class Teacher:
    """The original model in evaluation mode, asked for what a distillation needs."""

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
            stack.enter_context(autocast(self.model.net, self.precision))
            output: Any = self.model.net(**inputs, output_hidden_states=self.wanted.hidden_states > 0)
        states = [output.hidden_states[i + 1] for i in self.layers] if self.wanted.hidden_states else []
        return Answer(output.logits.float(), states, dict(relations))


class RememberingTeacher:
    """A teacher that has seen every example of a split once, in an order that depends on nothing else.

    Costs one pass over the split; every later epoch is spared the original model's forward pass, which is most of a
    training step once the student is small. Hidden states are kept in bfloat16.
    """

    def __init__(self, teacher: Teacher, split: Split) -> None:
        order = list(batch_order(split, BATCH_SIZE, None))
        answers = []
        with steps("asking the original", len(order)) as progress:
            for indices in order:
                batch = split.batch(indices)
                answers.append(_packed(teacher.answer(batch, indices), batch))
                progress.show(len(answers), "")
        lengths = torch.cat([n_positions for _, _, n_positions in answers])
        place = torch.cat(order).argsort()
        self.logits = torch.cat([logits for logits, _, _ in answers])[place]
        self.lengths = lengths[place]
        self.starts = (lengths.cumsum(0) - lengths)[place]
        self.states = torch.cat([states for _, states, _ in answers])

    def answer(self, batch: Mapping[str, Tensor], indices: Tensor) -> Answer:
        """Look up what the original model said of these examples."""
        lengths = self.lengths[indices, None]
        position = torch.arange(int(lengths.max())).minimum(lengths - 1)  # padding repeats the last: masked anyway
        states = self.states[self.starts[indices, None] + position]
        return Answer(self.logits[indices], list(states.unbind(dim=2)), {})


def _packed(answer: Answer, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, states without padding, shape (n_positions, n_layers, n_features), and positions per example."""
    n_examples = len(answer.logits)
    if not answer.hidden_states:
        return answer.logits, torch.empty(n_examples, 0), torch.ones(n_examples, dtype=torch.long)
    states = torch.stack(list(answer.hidden_states), dim=2).to(torch.bfloat16)
    mask = batch.get("attention_mask", torch.ones(states.shape[:2])).bool()
    return answer.logits, states[mask], mask.sum(dim=1)


def teacher_for(
    original: Model, layers: Sequence[int], wanted: Distill, precision: str, split: Split, n_examples: int
) -> Teacher | RememberingTeacher:
    """Choose the teacher of a phase that sees ``n_examples``: one that remembers, where that is less work and fits."""
    teacher = Teacher(original, layers, wanted, precision)
    if n_examples < len(split) or wanted.attention_relations:
        return teacher
    first = teacher.answer(split.batch([0]), torch.tensor([0]))
    bytes_per_length = sum(states[0].numel() * 2 for states in first.hidden_states) / split.lengths[0]
    if bytes_per_length * sum(split.lengths) > CACHE_BYTES:
        return teacher
    return RememberingTeacher(teacher, split)
