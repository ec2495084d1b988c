"""The groups of options that stages share."""

import pytest
from pydantic import ValidationError

from compressor.options import Calibration, Target

KEYS = ("p50_ratio", "p50_ms", "n_flops_ratio", "n_params_ratio", "size_ratio")


def test_calibration_takes_a_number_of_examples():
    assert Calibration().examples == 512
    assert Calibration(examples=1).examples == 1
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Calibration(examples=0)


@pytest.mark.parametrize("key", KEYS)
def test_a_target_is_one_number(key):
    assert getattr(Target.model_validate({key: 0.5}), key) == 0.5
    for wrong in (0, -0.5, float("nan"), float("inf")):
        with pytest.raises(ValidationError, match=key):
            Target.model_validate({key: wrong})


@pytest.mark.parametrize("key", [key for key in KEYS if key.endswith("_ratio")])
def test_a_target_asks_for_less_than_the_original(key):
    with pytest.raises(ValidationError, match="less than 1"):
        Target.model_validate({key: 1.0})


@pytest.mark.parametrize(("given", "said"), [({}, "none"), ({"size_ratio": 0.5, "p50_ms": 2.0}, "p50_ms, size_ratio")])
def test_a_target_names_exactly_one_quantity(given, said):
    with pytest.raises(ValidationError, match=f"give exactly one of {', '.join(KEYS)}, got {said}"):
        Target(**given)


@pytest.mark.parametrize("group", [Calibration, Target])
def test_every_key_is_documented(group):
    assert all(field.description for field in group.model_fields.values())
