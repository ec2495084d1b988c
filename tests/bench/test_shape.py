"""Names of shapes: what is written is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.bench.shape import Shape

COUNTS = st.integers(1, 10**6)


@given(COUNTS, st.none() | COUNTS, COUNTS)
def test_a_name_is_read_back(batch_size, length, threads):
    shape = Shape(batch_size, length, threads)
    assert Shape.parse(shape.name) == shape
    assert Shape.parse(shape.size.name) == Shape(batch_size, length)


@pytest.mark.parametrize("name", ["", "x32", "1x", "1x32, 0.5 threads", "batch 8", "1×32"])  # noqa: RUF001
def test_other_texts_are_no_names(name):
    with pytest.raises(ValueError, match="is not the name of a shape"):
        Shape.parse(name)
