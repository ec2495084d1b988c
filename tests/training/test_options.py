"""What a training phase accepts."""

import pytest
from pydantic import ValidationError

from compressor.training.options import Distill, Retrain


@pytest.mark.parametrize("loss", ["logits", "hidden_states", "attention_relations"])
def test_a_phase_may_train_on_one_distillation_loss_alone(loss):
    weights = {"logits": 0.0, loss: 0.5}
    retrain = Retrain(steps=1, labels=0, distill=Distill(**weights))
    assert retrain.distill is not None
    assert getattr(retrain.distill, loss) == 0.5


@pytest.mark.parametrize("distill", [None, Distill(logits=0)])
def test_a_phase_without_any_loss_is_refused(distill):
    with pytest.raises(ValidationError, match="every loss has weight zero; raise 'labels' or 'distill'"):
        Retrain(steps=1, labels=0, distill=distill)


@pytest.mark.parametrize("lengths", [{}, {"steps": 1, "epochs": 1.0}])
def test_a_phase_has_one_length(lengths):
    with pytest.raises(ValidationError, match="give either 'steps' or 'epochs'"):
        Retrain(**lengths)


def test_a_phase_has_a_step_at_least():
    assert Retrain(epochs=0.001, batch_size=32).n_steps(100) == 1
