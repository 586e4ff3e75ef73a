"""What is told of a posterior on the test part: told apart from the exact one, calibrated."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from models import linear_posterior
from models.data.catalog import prepare
from models.data.kinds.samples import exact_posterior
from models.errors import DataError
from models.metrics import calibration
from models.metrics.two_sample import c2st
from models.training.protocol import Context

TASK = {"name": "posterior", "draws": 50, "compared": 100, "ranked": 200}


def pairs(rows):
    """Two samples of one distribution, and of three pairs of different ones."""
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 4, rows, 2))
    second[1] += 0.5
    second[2] *= 1.6
    second[3, :, 1] = 0.8 * second[3, :, 0] + 0.6 * second[3, :, 1]
    return first * 3 + 1, second * 3 + 1


@pytest.mark.oracles
@pytest.mark.slow
def test_c2st_is_that_of_scikit_learn():
    """The benchmark's definition, with scikit-learn's classifier and folds."""
    model_selection = pytest.importorskip("sklearn.model_selection")
    neural_network = pytest.importorskip("sklearn.neural_network")
    first, second = pairs(1000)
    found = c2st(first, second)
    for x, y, ours in zip(first, second, found, strict=True):
        mean, std = x.mean(axis=0), x.std(axis=0, ddof=1)
        data = np.concatenate([(x - mean) / std, (y - mean) / std])
        scores = []
        for seed in (1, 2):
            network = neural_network.MLPClassifier(
                hidden_layer_sizes=(20, 20), max_iter=10_000, random_state=seed
            )
            folds = model_selection.KFold(5, shuffle=True, random_state=seed)
            target = np.repeat([0, 1], len(x))
            args = {"cv": folds, "scoring": "accuracy"}
            scores.append(
                model_selection.cross_val_score(network, data, target, **args).mean()
            )
        assert ours == pytest.approx(np.mean(scores), abs=0.02)


def test_c2st_tells_apart_what_differs():
    """Against the best that any classifier can, of two Gaussians half a deviation apart."""
    first, second = pairs(400)
    found = c2st(first[:2], second[:2])
    assert found[0] == pytest.approx(0.5, abs=0.06)
    best = scipy.stats.norm.cdf(np.sqrt(2) * 0.5 / 2)
    assert found[1] == pytest.approx(best, abs=0.06)
    with pytest.raises(DataError, match="two samples of equal shape"):
        c2st(first, second[:, :-1])


def test_draws_that_are_no_numbers_are_not_taken_for_exact_ones():
    """A network that learned of NaN says 0 of everything, which is right of half of it."""
    first, second = pairs(60)
    plain = c2st(first[:3], second[:3])
    second[0, 3, 1], first[2, 0, 0] = np.nan, np.inf
    found = c2st(first[:3], second[:3])
    assert np.isnan(found[[0, 2]]).all() and found[1] == plain[1]


def gaussian(rows, *, wide=1.0, shift=0.0, seed=1):
    """Truths, and draws of their posteriors N(m, 1): too wide, or too far to one side."""
    random = np.random.default_rng(seed)
    mean = 2 * random.normal(size=(rows, 1, 2))
    truth = (mean + random.normal(size=(rows, 1, 2)))[:, 0]
    draws = mean + shift + wide * random.normal(size=(rows, 99, 2))
    return draws, truth, np.ones(truth.shape, bool)


def places(draws, truth, there):
    """Where truths lie among draws, and which there are."""
    return calibration.places(draws, truth, random=np.random.default_rng(2)), there


def test_what_is_calibrated_is_told_from_what_is_not():
    random = np.random.default_rng(2)
    right, narrow = gaussian(500), gaussian(500, wide=0.6)
    aside = gaussian(500, shift=0.4)
    error, region = calibration.tarp(*right, random=random)
    assert min(*calibration.rank_p_values(*places(*right)), region) > 0.05
    assert error < 0.07
    for wrong in (narrow, aside):
        assert max(calibration.rank_p_values(*places(*wrong))) < 1e-3
    # Regions around points on all sides tell little of what is aside.
    error, region = calibration.tarp(*narrow, random=random)
    assert region < 1e-6 and error > 0.1
    half = scipy.stats.norm.ppf(0.95)
    wanted = scipy.stats.norm.cdf(0.6 * half) - scipy.stats.norm.cdf(-0.6 * half)
    assert calibration.coverage(*places(*narrow), 0.9) == pytest.approx(
        wanted, abs=0.04
    )


def test_intervals_of_few_draws_hold_what_they_should():
    """Of 19 draws the intervals between their quantiles would hold 86 % instead of 95 %."""
    draws, truth, there = gaussian(4000)
    place, there = places(draws[:, :19], truth, there)
    for level in calibration.LEVELS:
        low, high = scipy.stats.binom(8000, level).interval(0.999)
        assert low <= 8000 * calibration.coverage(place, there, level) <= high


def test_coverage_is_held_against_its_binomial_band():
    """Rejected exactly where a share lies outside the band of as many rows, and that fairly."""
    band = {level: scipy.stats.binom(500, level).interval(0.95) for level in (0.5, 0.9)}
    wrong, cases = 0, 0
    for seed in range(60):
        place, there = places(*gaussian(500, seed=seed))
        p_values = calibration.coverage_p_values(place, there)
        assert p_values.shape == (len(calibration.LEVELS), place.shape[1])
        for level, (low, high) in band.items():
            own = p_values[calibration.LEVELS.index(level)]
            held = (np.abs(place - 0.5) <= level / 2).sum(axis=0)
            outside = (held < low) | (held > high)
            assert ((own < 0.05) | ~outside).all() and ((own > 0.03) | outside).all()
        wrong += (p_values < 0.05).sum()
        cases += p_values.size
    assert wrong / cases < 0.08
    narrow = calibration.coverage_p_values(*places(*gaussian(500, wide=0.6)))
    assert narrow.max() < 1e-3
    there = np.ones((500, 2), bool)
    there[:, 0] = False
    one = calibration.coverage_p_values(place[:, :2], there)
    assert np.isnan(one[:, 0]).all() and not np.isnan(one[:, 1]).any()


def test_what_a_row_does_not_have_is_left_out():
    draws, truth, there = gaussian(300)
    truth[::2, 1], there[::2, 1] = 100.0, False
    place, _ = places(draws, truth, there)
    assert calibration.rank_p_values(place, there)[1] > 0.01
    there[:, 0] = False
    ranks = calibration.rank_p_values(place, there)
    assert np.isnan(ranks[0]) and ranks[1] > 0.01


def test_holm():
    """An example of four by hand, against statsmodels where that is there."""
    p_values = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    found = calibration.holm(p_values)
    np.testing.assert_allclose(found, [0.03, np.nan, 0.06, 0.06, 0.02])


@pytest.fixture
def two_observations(monkeypatch):
    """Of the ten that are told apart: the networks are small, but many."""
    monkeypatch.setattr("models.tasks.appraisal.OBSERVED", 2)


def learner(data, **task):
    context = Context(task=TASK | task, data=prepare(data).to_json())
    made = linear_posterior.create({}, context)
    made.fit()
    return made


def test_the_closed_form_is_exact_where_all_is_gaussian(two_observations):
    found = learner({"name": "gaussian_linear", "samples": 4000}).evaluate("test")
    assert min(found[f"{name}_p"] for name in ("rank", "coverage", "tarp")) > 0.05
    assert found["c2st"] == pytest.approx(0.5, abs=0.1)
    assert found["c2st_worst"] == max(found[f"c2st.{n}"] for n in (1, 2))
    assert sum(name.startswith("rank_p.theta.") for name in found) == 10
    for level in (50, 80, 90, 95):
        assert found[f"coverage_{level}"] == pytest.approx(level / 100, abs=0.04)
    # Every column's share of the loss is that of its posterior, here of half the variance.
    spread = np.sqrt(0.5)
    assert found["loss.velocity"] == pytest.approx(np.pi / 2 * spread, rel=0.03)


def test_the_closed_form_is_told_apart_where_nothing_is(two_observations):
    made = learner({"name": "two_moons", "samples": 1000})
    exact = exact_posterior(made.interface.reference, ("theta",))["theta"]
    drawn = made.predict({"x": np.zeros((3, 2))})["theta"]
    assert drawn.shape == (3, 50, 2) and (np.abs(drawn) <= 1).all()
    assert (np.abs(exact) <= 1).all()
    found = made.evaluate("test")
    assert found["c2st"] > 0.85
    assert not {"c2st", "rank_p"} & set(made.evaluate("valid"))


def test_draws_of_rows_with_numbers_are_their_own():
    made = learner({"name": "two_moons", "samples": 1000})
    x, mask = np.zeros((2, 2)), np.ones((2, 2), bool)
    batch = {"x": x, "given.x": mask, "number": np.array([3, 4], np.int32)}
    first, second = made.outputs(batch)["theta"]
    assert not np.isclose(first, second).any()
    np.testing.assert_array_equal(made.outputs(batch)["theta"][1], second)
