"""Networks for tables: what they compute, what transformers makes of them, and what they keep when inputs go."""

import pytest
import torch
from torch.nn.functional import cross_entropy, smooth_l1_loss
from transformers import AutoConfig, AutoModel

from compressor import surgery
from compressor.archs import mlp
from compressor.nets import tabular
from compressor.surgery.widths import select

tabular.register()
SETTINGS = {
    "feature_names": ["a", "b", "c", "d"],
    "feature_means": [1.0, -2.0, 0.0, 300.0],
    "feature_stds": [0.5, 4.0, 1.0, 100.0],
    "hidden_sizes": [8, 6],
    "num_labels": 3,
}
FAMILIES = ("mlp", "autoencoder")
each_family = pytest.mark.parametrize("family", FAMILIES)


def build(family, **changes):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SETTINGS | changes)
    return tabular.AutoModelForTabularClassification.from_config(config).eval()


def rows(batch_size=5):
    torch.manual_seed(1)
    scale = torch.tensor(SETTINGS["feature_stds"])
    return torch.tensor(SETTINGS["feature_means"]) + scale * torch.randn(batch_size, 4)


@each_family
def test_transformers_builds_saves_and_loads_them(family, tmp_path):
    net = build(family)
    net.save_pretrained(tmp_path)
    for auto in (AutoModel, tabular.AutoModelForTabularClassification):
        again = auto.from_pretrained(tmp_path).eval()
        assert type(again) is type(net)
        assert torch.equal(again(rows()).logits, net(rows()).logits)


@each_family
def test_features_are_standardised_inside(family):
    net, plain = build(family), build(family, feature_means=None, feature_stds=None)
    plain.encoder.load_state_dict(net.encoder.state_dict())
    scaled = (rows() - torch.tensor(SETTINGS["feature_means"])) / torch.tensor(SETTINGS["feature_stds"])
    torch.testing.assert_close(net(rows()).logits, plain(scaled).logits)


@each_family
def test_the_first_weights_follow_the_number_of_inputs(family):
    weights = build(family, feature_names=[f"f{i}" for i in range(400)], feature_means=None, feature_stds=None)
    assert weights.encoder.layers[0].dense.weight.abs().max() <= 400**-0.5


def test_the_loss_of_the_autoencoder_is_that_of_the_papers():
    net = build("autoencoder", reconstruction_weight=0.25)
    labels = torch.tensor([0, 1, 2, 0, 1])
    output = net(rows(), labels=labels)
    mean, std = torch.tensor(SETTINGS["feature_means"]), torch.tensor(SETTINGS["feature_stds"])
    reconstruction_loss = smooth_l1_loss((output.reconstruction - mean) / std, (rows() - mean) / std)
    torch.testing.assert_close(output.reconstruction_loss, 0.25 * reconstruction_loss)
    torch.testing.assert_close(output.loss, cross_entropy(output.logits, labels) + 0.25 * reconstruction_loss)


def test_only_training_asks_for_the_reconstruction_loss():
    net = build("autoencoder")
    assert list(net(rows())) == ["logits", "reconstruction"]
    assert "reconstruction_loss" in net.train()(rows())


@each_family
def test_what_is_left_of_the_inputs_is_picked_from_whole_rows(family):
    net = build(family)
    (width,) = select(mlp.widths(net), ["inputs"])
    dead = torch.tensor([False, True, False, True])
    surgery.zero_units_(net, width, dead)
    before = net(rows()).logits
    surgery.shrink_(net, width, ~dead, None)
    surgery.prove_equal(before.detach(), net(rows()).logits.detach(), "inputs")
    assert net.kept_features == ("a", "c")
    assert net.encoder.layers[0].dense.in_features == 2
    if family == "autoencoder":
        assert net(rows()).reconstruction.shape == (5, 4)


def test_settings_of_the_wrong_kind_are_refused():
    with pytest.raises(Exception, match="hidden_sizes"):
        AutoConfig.for_model("mlp", hidden_sizes="wide")
