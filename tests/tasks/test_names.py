import subprocess
import sys

import pytest
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForSpeechSeq2Seq
from transformers.pipelines import TASK_ALIASES

from compressor.tasks import _names as task_names


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("text-classification", "text-classification"),
        ("sequence-classification", "text-classification"),
        ("sentiment-analysis", "text-classification"),
        ("zero-shot-classification", "text-classification"),
        ("ner", "token-classification"),
        ("causal-lm", "text-generation"),
        ("summarization", "text2text-generation"),
        ("tabular-classification", "tabular-classification"),
        ("word-counting", "word-counting"),
    ],
)
def test_every_task_has_one_name(name, canonical):
    assert task_names.canonical(name) == canonical


def test_the_aliases_of_transformers_pipelines_are_all_known():
    assert {alias: task_names.canonical(alias) for alias in TASK_ALIASES} == TASK_ALIASES


def test_auto_classes_are_found_by_any_name_of_a_task():
    assert task_names.auto_class("sentiment-analysis") is AutoModelForSequenceClassification


def test_where_a_task_has_several_auto_classes_the_model_type_decides_and_nothing_is_printed(capfd):
    assert task_names.auto_class("automatic-speech-recognition", "whisper") is AutoModelForSpeechSeq2Seq
    with pytest.raises(
        ValueError, match=r"^task: no auto class for 'automatic-speech-recognition' takes model type ''"
    ):
        task_names.auto_class("automatic-speech-recognition")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("task", "hint"),
    [("text-clasification", "did you mean 'text-classification'?"), ("xyz", "see the keys of optimum's TasksManager")],
)
def test_a_task_without_an_auto_class_is_refused(task, hint):
    with pytest.raises(ValueError, match=f"^task: no auto class is known for '{task}'; {hint.replace('?', '.')}$"):
        task_names.auto_class(task)


@pytest.mark.parametrize(
    ("model_type", "architecture", "task"),
    [
        ("bert", "BertForSequenceClassification", "text-classification"),
        ("bert", "BertForMaskedLM", "fill-mask"),
        ("bert", "BertModel", "feature-extraction"),
        ("gpt2", "GPT2LMHeadModel", "text-generation"),
        ("t5", "T5ForConditionalGeneration", "text2text-generation"),
        ("bart", "BartForConditionalGeneration", "text2text-generation"),
        ("bart", "BartForSequenceClassification", "text-classification"),
        ("vit", "ViTForImageClassification", "image-classification"),
        ("deit", "DeiTForImageClassification", "image-classification"),
        ("timm_wrapper", "TimmWrapperForImageClassification", "image-classification"),
        ("bert", "OfSomebodyElse", None),
        ("bert", None, None),
    ],
)
def test_the_task_of_a_checkpoint_is_read_from_its_config(model_type, architecture, task):
    architectures = None if architecture is None else [architecture]
    assert task_names.inferred(AutoConfig.for_model(model_type, architectures=architectures)) == task


def test_the_nearest_name_is_found_if_there_is_one():
    assert task_names.nearest("text-clasification", ["image-classification", "text-classification"]) == (
        "text-classification"
    )
    assert task_names.nearest("xyz", ["text-classification"]) is None


def test_no_name_is_looked_up_in_a_network():
    code = """
import socket, sys
from compressor.tasks import _names as task_names
assert "optimum" not in sys.modules  # imported at first use
def refuse(*_): raise AssertionError("a connection was asked for")
socket.socket.connect = refuse
task_names.canonical("ner")
assert "optimum" in sys.modules
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
