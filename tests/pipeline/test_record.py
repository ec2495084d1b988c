"""What is written down of a model: each unit is counted once."""

import pytest
import tiny
import torch
from tiny import arch_of, task_of

from compressor import surgery
from compressor.model import Model, Task
from compressor.pipeline.record import record_of
from compressor.recipe.schema import Bench


def zero_(net, name, units):
    width = next(width for width in arch_of(net).widths(net) if width.name == name)
    surgery.zero_units_(net, width, torch.isin(torch.arange(width.size), torch.tensor(units)))


@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_query_heads_that_share_a_group_are_not_counted_beside_it(family):
    """Two layers of 2 groups and 24 neurons: 52 units. The 2 query heads of each group lie inside the groups."""
    net = tiny.tiny(family)
    zero_(net, "layer.0.heads", [1])
    zero_(net, "layer.1.ffn", [0, 3, 7, 8, 23])
    record = record_of(Model(net, arch_of(net), Task(*task_of(net))), Bench(lengths=(4,)))
    assert record["column_sparsity"] == 6 / 52
