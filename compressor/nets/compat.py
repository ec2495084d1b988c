"""The private names of transformers that are used, in one place; checked with 5.23.

When an upgrade of transformers breaks one of these names, this is the file to change.
"""

from collections import OrderedDict
from typing import Any

from transformers import PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping

AutoClass = _BaseAutoModelClass
"""Base of the classes that turn a config into a network, such as ``AutoModel``."""


def empty_mapping() -> Any:
    """Return the table of an auto class without any network in it: `AutoClass.register` fills it."""
    return _LazyAutoMapping(OrderedDict(), OrderedDict())


def supports_sdpa(net: PreTrainedModel) -> bool:
    """Whether the attentions of a network's class can run as torch's scaled dot product."""
    return bool(net._supports_sdpa)
