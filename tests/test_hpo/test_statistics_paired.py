"""The sign-flip test and the interval of paired differences, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from hpo.statistics.paired import paired


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_equals_scipy(shift):
    values = np.random.default_rng(1).normal(shift, 1, 9)
    found = paired(values.tolist())
    peer = scipy.stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=2**9
    )
    interval = scipy.stats.ttest_1samp(values, 0).confidence_interval()
    assert found.count == 9 and found.mean == pytest.approx(values.mean())
    assert found.p == pytest.approx(peer.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(interval))


def test_ten_of_one_sign_and_none_apart():
    assert paired([0.1 * i for i in range(1, 11)]).p == 2 / 1024
    assert paired([1.0, -1.0, 1.0, -1.0]).p == 1.0
    for bad in ([1.0], [1.0] * 21, [1.0, float("nan")]):
        with pytest.raises(ValueError, match="finite differences"):
            paired(bad)
