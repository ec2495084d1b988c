"""Networks that answer otherwise by the length of a text, or by what they read before."""

import re

import pytest
import tiny
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, BertForSequenceClassification

from compressor.errors import InputError, ParityError
from compressor.model import Model, Task
from compressor.model.lengths import check_lengths
from compressor.stages import export

BIG_BIRD = tiny.TEXT | tiny.LAYERS | {"block_size": 4, "num_random_blocks": 1}  # full attention up to 28 tokens


class Limited(tiny.Processor):
    """A tokenizer that cuts texts."""

    def __init__(self, most):
        self.model_max_length = most


def model_of(net, most):
    task, labels, _, names = tiny.task_of(net)
    return Model(net, tiny.arch_of(net), Task(task, labels, Limited(most), names))


def big_bird(**settings):
    torch.manual_seed(0)
    config = AutoConfig.for_model("big_bird", **BIG_BIRD, **settings, initializer_range=0.3)
    return AutoModelForSequenceClassification.from_config(config).eval()


def test_an_attention_that_changes_for_good_is_refused_where_texts_are_long_enough():
    message = (
        "model: BigBirdForSequenceClassification answers a text of 40 tokens otherwise once it has read one of 2; "
    )
    with pytest.raises(InputError, match=message):
        check_lengths(model_of(big_bird(), 40), seed=0)


@pytest.mark.parametrize(("most", "settings"), [(28, {}), (40, {"attention_type": "original_full"})])
def test_the_same_network_is_taken_where_its_attention_is_full(most, settings):
    check_lengths(model_of(big_bird(**settings), most), seed=0)


def test_a_length_that_a_network_cannot_read_is_refused():
    message = "model: BertForSequenceClassification fails on a text of 60 tokens ("
    with pytest.raises(InputError, match=re.escape(message)):
        check_lengths(model_of(tiny.tiny("bert"), 60), seed=0)


def test_images_have_no_length():
    check_lengths(
        Model(tiny.tiny("vit"), tiny.arch_of(tiny.tiny("vit")), Task(*tiny.task_of(tiny.tiny("vit")))), seed=0
    )


class OtherwiseLong(BertForSequenceClassification):
    """Answers long texts otherwise, as a file cannot."""

    def forward(self, input_ids=None, attention_mask=None):
        output = super().forward(input_ids=input_ids, attention_mask=attention_mask)
        if not torch.compiler.is_compiling() and input_ids.shape[1] > 32:
            output["logits"] = output["logits"] + 1
        return output


@pytest.mark.slow
def test_a_file_is_compared_at_the_longest_text(tmp_path):
    net = tiny.tiny("bert")
    net.__class__ = OtherwiseLong
    message = r"batch size 1, length 40, more than parity_atol 0\.001; lower data\.max_length"
    with pytest.raises(ParityError, match=message):
        export.run(model_of(net, 40), export.Options(stage="export"), tiny.bare_context(tmp_path))
    export.run(model_of(net, 32), export.Options(stage="export"), tiny.bare_context(tmp_path))
