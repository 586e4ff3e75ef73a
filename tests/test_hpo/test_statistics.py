"""Intervals, tests and expectations against scipy, simulation and enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from hpo.statistics import looks, means, ranks, selection, welch


@pytest.mark.parametrize("sizes", [(5, 5), (10, 3), (2, 40)])
@pytest.mark.parametrize("error", [0.05, 0.04 / 6])
def test_welch_is_scipys(sizes, error):
    random = np.random.default_rng(sum(sizes))
    a, b = random.normal(1, 2, sizes[0]), random.normal(0, 5, sizes[1])
    found = welch.difference(a.tolist(), b.tolist(), error=error)
    oracle = stats.ttest_ind(a, b, equal_var=False)
    span = oracle.confidence_interval(1 - error)
    assert found.value == pytest.approx(a.mean() - b.mean())
    assert (found.low, found.high) == pytest.approx((span.low, span.high))
    assert found.degrees == pytest.approx(oracle.df)


def test_a_sample_that_never_varies_has_an_exact_difference():
    found = welch.difference([2.0] * 5, [1.5] * 5, error=0.05)
    assert (found.low, found.value, found.high) == (0.5, 0.5, 0.5)
    one = welch.difference([2.0] * 5, [1.0, 1.2, 1.4], error=0.05)
    lonely = stats.t.interval(0.95, 2, 1.2, stats.sem([1.0, 1.2, 1.4]))
    assert (2 - one.high, 2 - one.low) == pytest.approx(lonely)


def test_needed_is_the_least_number_that_is_narrow_enough():
    random = np.random.default_rng(0)
    a, b = random.normal(0, 1, 10).tolist(), random.normal(0, 3, 10).tolist()
    half = 0.8
    n = welch.needed(a, b, error=0.008, half_width=half)

    def width(count):
        std = np.std(a, ddof=1), np.std(b, ddof=1)
        oracle = stats.ttest_ind_from_stats(
            0, std[0], count, 0, std[1], count, equal_var=False
        )
        degrees = (std[0] ** 2 + std[1] ** 2) ** 2 * (count - 1)
        degrees /= std[0] ** 4 + std[1] ** 4
        scale = np.sqrt((std[0] ** 2 + std[1] ** 2) / count)
        assert oracle.pvalue == pytest.approx(1.0)
        return stats.t.ppf(1 - 0.004, degrees) * scale

    assert width(n) <= half < width(n - 1)
    assert welch.needed(a, b, error=0.008, half_width=1e-9) is None


def test_mean_interval_is_scipys():
    values = [1.0, 2.0, 4.0, 8.0]
    found = means.mean_interval([*values, float("nan")])
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high)) and found.count == 4
    assert means.quantile(0.975, float("inf")) == pytest.approx(stats.norm.ppf(0.975))


@pytest.mark.parametrize("sizes", [(5, 5), (10, 10), (3, 8)])
def test_the_rank_test_is_exact(sizes):
    random = np.random.default_rng(1)
    a, b = random.normal(0.8, 1, sizes[0]), random.normal(0, 1, sizes[1])
    oracle = stats.mannwhitneyu(a, b, method="exact").pvalue
    assert ranks.rank_test(a.tolist(), b.tolist()) == pytest.approx(oracle)


def test_the_rank_test_is_exact_with_ties():
    worst = float("inf")
    a, b = [1.0, 2.0, 2.0, 3.0, worst], [4.0, 5.0, worst, worst, 6.0]
    big = [1e9 if v == worst else v for v in a], [1e9 if v == worst else v for v in b]

    def rank_sum(x, y, axis):
        both = stats.rankdata(np.concatenate([x, y], axis=axis), axis=axis)
        return both[..., :5].sum(axis=-1)

    oracle = stats.permutation_test(
        big, rank_sum, vectorized=True, n_resamples=np.inf, axis=-1
    )
    assert ranks.rank_test(a, b) == pytest.approx(oracle.pvalue)


def test_all_looks_together_spend_five_per_cent():
    spent = [looks.error(k) for k in (1, 2, 3)]
    assert spent == pytest.approx([0.04, 0.008, 0.0016])
    assert sum(looks.error(k) for k in range(1, 30)) == pytest.approx(0.05)
    assert looks.error_of_each(2, 6) == pytest.approx(0.008 / 6)


def test_the_expected_maximum_of_normal_values():
    random = np.random.default_rng(2)
    drawn = random.normal(size=(200_000, 16)).max(axis=1).mean()
    assert selection.expected_maximum(16) == pytest.approx(drawn, abs=0.01)
    assert selection.expected_maximum(1) == pytest.approx(0, abs=1e-9)
    assert selection.expected_maximum(2) == pytest.approx(1 / np.sqrt(np.pi))


def test_expected_optimism_is_that_of_simulated_searches():
    random = np.random.default_rng(3)
    truth = random.normal(0, 2.0, (100_000, 8))
    seen = truth + random.normal(0, 1.0, truth.shape)
    best = seen.argmax(axis=1)[:, None]
    luck = np.take_along_axis(seen - truth, best, 1).mean()
    found = selection.expected_optimism(seeds=1.0, values=np.sqrt(5), trials=8)
    assert found == pytest.approx(luck, abs=0.02)
    assert selection.expected_optimism(seeds=0.0, values=0.0, trials=8) == 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_expected_best_of_a_few_is_that_of_all_draws(count):
    values = [0.3, 0.1, 0.4, 0.1]
    every = [min(draw) for draw in product(values, repeat=count)]
    assert selection.expected_best(values, count) == pytest.approx(np.mean(every))
