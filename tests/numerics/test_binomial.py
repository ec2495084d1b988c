import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from compressor.numerics import binomial

counts = st.integers(1, 2000).flatmap(lambda n_tried: st.tuples(st.integers(0, n_tried), st.just(n_tried)))


@given(counts=counts, level=st.floats(0.5, 0.999))
def test_both_ends_are_where_the_count_just_becomes_unlikely(counts, level):
    n_found, n_tried = counts
    low, high = binomial.interval(n_found, n_tried, level)
    assert 0 <= low <= n_found / n_tried <= high <= 1
    if low > 0:
        assert stats.binom.sf(n_found - 1, n_tried, low) == pytest.approx((1 - level) / 2, rel=1e-6)
    if high < 1:
        assert stats.binom.cdf(n_found, n_tried, high) == pytest.approx((1 - level) / 2, rel=1e-6)
    assert (low == 0) == (n_found == 0)
    assert (high == 1) == (n_found == n_tried)


def test_it_loads_neither_torch_nor_all_of_scipy():
    code = "import sys; import compressor.numerics.binomial; print({'torch', 'scipy.stats'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
