"""Each distillation term against a formula written out here."""

import pytest
import torch

from compressor.training.losses import Answer, distillation_loss, masked_mse, relation_divergence, softened_divergence
from compressor.training.options import Distill


def test_softened_divergence_is_the_textbook_sum():
    student, teacher, temperature = torch.tensor([[1.0, -1.0]]), torch.tensor([[0.5, 2.0]]), 2.0
    p, q = (torch.softmax(x / temperature, -1) for x in (teacher, student))
    assert softened_divergence(student, teacher, temperature) == pytest.approx(float((p * (p / q).log()).sum()) * 4)


def test_masked_mse_ignores_padding():
    student, teacher = torch.zeros(1, 3, 2), torch.tensor([[[1.0, 3.0], [2.0, 2.0], [9.0, 9.0]]])
    assert masked_mse(student, teacher, torch.tensor([[1, 1, 0]])) == pytest.approx((5.0 + 4.0) / 2)
    assert masked_mse(student, teacher, None) == pytest.approx((5.0 + 4.0 + 81.0) / 3)


def test_relations_agree_with_themselves_at_any_width_and_ignore_padding():
    torch.manual_seed(0)
    vectors = torch.randn(2, 4, 8)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    assert relation_divergence(vectors, vectors, mask) == pytest.approx(0.0, abs=1e-6)
    other = vectors.clone()
    other[1, 2:] = 50.0
    assert relation_divergence(vectors, other, mask) == pytest.approx(0.0, abs=1e-6)
    assert relation_divergence(vectors[..., :3], vectors, mask) > 1e-3


def test_terms_add_up_and_a_weight_of_zero_is_not_computed():
    ours = Answer(torch.tensor([[1.0, 0.0]]), [torch.zeros(1, 2, 3)], {"q": torch.ones(1, 2, 3)})
    theirs = Answer(torch.tensor([[0.0, 1.0]]), [torch.ones(1, 2, 3)], {"q": torch.ones(1, 2, 3)})
    weights = Distill(logits=0.5, temperature=1.0, hidden_states=2.0, attention_relations=3.0)
    expected = 0.5 * float(softened_divergence(ours.logits, theirs.logits, 1.0)) + 2.0
    assert distillation_loss(ours, theirs, None, weights) == pytest.approx(expected)
    nothing = Answer(theirs.logits, [], {})
    only_logits = Distill(logits=0.5, temperature=1.0)
    assert distillation_loss(ours, nothing, None, only_logits) == pytest.approx(expected - 2.0)
