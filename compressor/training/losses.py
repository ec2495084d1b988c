"""Distillation losses against the original model, and the outputs that they compare."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.errors import RecipeError
from compressor.model import Model
from compressor.training.options import Distill

Relations = dict[str, Tensor]
_MASKED = -1e4  # zero after the softmax, and in the range of float16, as -1e9 is not


@dataclass(frozen=True)
class Answer:
    """The outputs of a network on one batch that a distillation compares."""

    logits: Tensor
    hidden_states: Sequence[Tensor]
    """After each compared layer, each of shape (batch, length, n_features)."""
    relations: Relations
    """Queries, keys and values of the last layer."""


def distillation_loss(student: Answer, teacher: Answer, mask: Tensor | None, weights: Distill) -> Tensor:
    """Sum of the weighted losses against the teacher's answer; a term of weight zero is not computed.

    ``mask``, shape (batch, length), is one at real tokens and zero at padding; None if there is no padding.
    """
    loss = student.logits.new_zeros((), dtype=torch.float32)
    if weights.logits:
        loss = loss + weights.logits * softened_divergence(student.logits, teacher.logits, weights.temperature)
    if weights.hidden_states:
        pairs = zip(student.hidden_states, teacher.hidden_states, strict=True)
        loss = loss + weights.hidden_states * torch.stack([masked_mse(*pair, mask) for pair in pairs]).mean()
    if weights.attention_relations:
        pairs = zip(student.relations.values(), teacher.relations.values(), strict=True)
        loss = (
            loss
            + weights.attention_relations * torch.stack([relation_divergence(*pair, mask) for pair in pairs]).mean()
        )
    return loss


def softened_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence of softened logits, times the squared temperature (Hinton et al. 2015, arXiv:1503.02531)."""
    of_student = functional.log_softmax(student.float() / temperature, dim=-1)
    of_teacher = functional.log_softmax(teacher.float() / temperature, dim=-1)
    return functional.kl_div(of_student, of_teacher, reduction="batchmean", log_target=True) * temperature**2


def masked_mse(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """Mean squared error over real positions of states, shape (batch, length, n_features)."""
    squared = (student.float() - teacher.float()).square().mean(dim=-1)
    if mask is None or squared.shape != mask.shape:
        return squared.mean()
    return (squared * mask).sum() / mask.sum()


def relation_divergence(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """KL divergence between the scaled dot-product relations of two layers' queries, keys or values.

    All heads are treated as one, so that student and teacher may differ in their number of heads
    (Wang et al., MiniLMv2, 2021, arXiv:2012.15828, with one relation head).
    """
    of_student, of_teacher = (_log_relation(x.float(), mask) for x in (student, teacher))
    divergence = (of_teacher.exp() * (of_teacher - of_student)).sum(dim=-1)
    if mask is None or divergence.shape != mask.shape:
        return divergence.mean()
    return (divergence * mask).sum() / mask.sum()


def _log_relation(vectors: Tensor, mask: Tensor | None) -> Tensor:
    scores = vectors @ vectors.transpose(-1, -2) / vectors.shape[-1] ** 0.5
    if mask is not None and mask.shape == scores.shape[:2]:
        scores = scores.masked_fill(mask[:, None, :] == 0, _MASKED)
    return functional.log_softmax(scores, dim=-1)


def check_comparable(model: Model, wanted: Distill) -> None:
    """Refuse distillation losses for outputs that a network lacks: one state per layer, or attention."""
    family = model.net.config.model_type
    n_layers = len(model.arch.blocks(model.net))
    if wanted.hidden_states and (not n_layers or n_layers != getattr(model.net.config, "num_hidden_layers", None)):
        raise RecipeError(
            f"retrain.distill.hidden_states: {family!r} does not output one state per layer; leave it out"
        )
    if wanted.attention_relations and not any(width.what == "heads" for width in model.widths()):
        raise RecipeError(f"retrain.distill.attention_relations: {family!r} has no attention; leave it out")


@contextmanager
def captured_relations(model: Model, is_wanted: bool) -> Iterator[Relations]:
    """Collect queries, keys and values of the last attention layer while the context is open."""
    seen: Relations = {}
    handles = []
    if is_wanted:
        last = [width for width in model.widths() if width.what == "heads"][-1]
        for cut in last.producers:  # query, key and value, which may be parts of one layer
            hook = _keep(seen, f"{cut.module}.{cut.offset}", cut.offset, cut.repeat * last.size * cut.block)
            handles.append(model.net.get_submodule(cut.module).register_forward_hook(hook))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _keep(
    seen: Relations, name: str, start: int, n_entries: int
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        seen[name] = output.narrow(-1, start, n_entries)

    return hook
