"""What the laws cannot see of Phi-3: attentions keep their own number of heads, and share all other settings."""

import copy
import pickle

import pytest
import tiny

from compressor import surgery
from compressor.archs import phi3


@pytest.fixture
def net():
    net = tiny.tiny("phi3")
    surgery.resize_(net, phi3, {"layer.0.heads": 1, "layer.1.group_heads": 1})
    return net


def test_each_attention_slices_with_its_own_number_of_heads(net):
    first, second = (layer.self_attn for layer in net.model.layers)
    assert (first.config.num_attention_heads, first.num_key_value_heads, first.num_key_value_groups) == (2, 1, 2)
    assert (second.config.num_attention_heads, second.num_key_value_heads, second.num_key_value_groups) == (2, 2, 1)
    assert net.config.num_attention_heads == 4


@pytest.mark.parametrize("remake", [lambda net: net, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_the_other_settings_are_those_of_the_network(net, remake):
    net = remake(net)
    net.set_attn_implementation("eager")
    for layer in net.model.layers:
        assert layer.self_attn.config._attn_implementation == "eager"
        assert layer.self_attn.config.shared is net.base_model.config
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = net.model.layers[0].self_attn.config.nothing_of_that_name
