"""Flow matching and flows, against what is known in closed form of Gaussians."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from models.flows import VELOCITY, matching_loss
from models.layers.coordinates import Coordinates
from models.layers.flow import Solver, log_density, transport
from models.layers.time_features import time_features
from models.losses.flow_matching import straight_paths, strata, times

MEAN, STD = 1.5, 0.4


def optimal(point, time, sigma=0.0):
    """The mean velocity of all paths to N(MEAN, STD²) through a point."""
    left = 1 - (1 - sigma) * time
    spread = left**2 + time**2 * STD**2
    slope = (time * STD**2 - (1 - sigma) * left) / spread
    return MEAN + slope * (point - time * MEAN)


def drawn(rows, sigma):
    first, second, third = jax.random.split(jax.random.key(0), 3)
    end = MEAN + STD * jax.random.normal(first, (rows, 1))
    noise = jax.random.normal(second, (rows, 2, 1))
    when = strata(third, rows, 2)
    return straight_paths(noise, end, when, sigma=jnp.asarray(sigma)), noise, end


@pytest.mark.parametrize(("sigma", "least"), [(1e-3, 0.6273), (0.0, np.pi / 2 * STD)])
def test_the_optimal_velocity_errs_by_the_irreducible_loss(sigma, least):
    paths, _, _ = drawn(200_000, sigma)
    found = optimal(paths.point, paths.time[..., None], sigma)
    assert np.mean(np.square(found - paths.velocity)) == pytest.approx(least, rel=5e-3)
    worse = np.mean(np.square(1.1 * found - paths.velocity))
    assert worse > least * 1.01


def test_velocity_is_the_slope_of_the_path_in_both_of_its_forms():
    paths, noise, end = drawn(16, 0.1)
    assert np.allclose(
        paths.point + (1 - paths.time[..., None]) * paths.velocity,
        end[:, None] + 0.1 * noise,
        atol=1e-5,
    )
    divided = (end[:, None] - 0.9 * paths.point) / (1 - 0.9 * paths.time[..., None])
    np.testing.assert_allclose(divided, paths.velocity, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="same shape"):
        straight_paths(noise, end[:, 0], paths.time, sigma=jnp.asarray(0.0))


def test_strata_are_even_over_rows_and_looks():
    found = np.asarray(strata(jax.random.key(1), 100, 4))
    for look in found.T:
        assert np.array_equal(np.sort(np.floor(look * 100)), np.arange(100))
    apart = np.sort(found, axis=1)
    np.testing.assert_allclose(np.diff(apart, axis=1), 0.25, atol=1e-5)


def test_times_follow_their_densities():
    numbers = jnp.asarray((np.arange(20_000) + np.float32(0.5)) / 20_000, jnp.float32)
    power = np.asarray(times(numbers, "power", power=jnp.asarray(3.0)))
    assert scipy.stats.kstest(power, scipy.stats.beta(4, 1).cdf).statistic < 1e-3
    where = {"location": jnp.asarray(0.5), "scale": jnp.asarray(2.0)}
    logit = np.asarray(times(numbers, "logit_normal", **where))
    normal = scipy.stats.norm(0.5, 2.0).cdf
    assert scipy.stats.kstest(np.log(logit / (1 - logit)), normal).statistic < 1e-3
    assert np.array_equal(times(numbers, "uniform"), numbers)


@pytest.mark.parametrize(
    "solver", [Solver(steps=8), Solver(kind="adaptive", tolerance=1e-6)], ids=str
)
def test_noise_is_carried_to_the_gaussian_that_the_velocity_is_of(solver):
    """Also the density, of which the divergence of a linear velocity is exact."""
    noise = jax.random.normal(jax.random.key(2), (64, 2))

    def velocity(point, time, context):
        return optimal(point, time) * context

    one = jnp.ones((64, 2))
    ends = np.asarray(transport(velocity, noise, one, solver=solver))
    # The velocity of a Gaussian moves quantiles to quantiles.
    np.testing.assert_allclose(ends, MEAN + STD * noise, atol=2e-3)
    wanted = scipy.stats.norm(MEAN, STD).logpdf(ends).sum(axis=1)
    found = log_density(velocity, jnp.asarray(ends), one, solver=solver)
    np.testing.assert_allclose(found, wanted, atol=0.02)
    estimated = log_density(
        velocity, jnp.asarray(ends), one, solver=solver, key=jax.random.key(3)
    )
    np.testing.assert_allclose(
        estimated, found, atol=1e-3
    )  # a diagonal: every probe knows


def test_the_estimate_of_a_density_differs_by_point_and_is_right_on_average():
    turn = jnp.asarray(np.array([[0.2, 1.0], [-0.5, -0.3]], np.float32))

    def velocity(point, time, context):
        return jnp.einsum("ij,j->i", turn, point)

    solver = Solver(steps=8)
    ends, nothing = jnp.full((400, 2), 0.7), jnp.zeros((400, 1))
    exact = np.asarray(log_density(velocity, ends[:1], nothing[:1], solver=solver))
    moved = scipy.linalg.expm(np.asarray(turn))
    normal = scipy.stats.multivariate_normal([0, 0], moved @ moved.T)
    assert exact[0] == pytest.approx(normal.logpdf([0.7, 0.7]), abs=1e-3)
    found = np.asarray(
        log_density(
            velocity, ends, nothing, solver=solver, key=jax.random.key(4), probes=2
        )
    )
    assert len(np.unique(found.round(5))) > 1, "every point has probes of its own"
    assert abs(found.mean() - exact[0]) < 5 * found.std() / 20


def test_a_path_that_was_not_followed_to_its_end_is_no_draw():
    """More steps than there may be: a velocity too stiff for the solver."""

    def velocity(point, time, context):
        return -1e6 * context * (point - 1)

    start, rates = jnp.zeros((2, 1)), jnp.array([[1e-6], [1.0]])
    ends = np.asarray(transport(velocity, start, rates, solver=Solver(kind="adaptive")))
    assert ends[0] == pytest.approx(1 - np.exp(-1), abs=1e-3) and np.isnan(ends[1])


LIMITS = ((-1.0, 1.0), (None, None), (0.0, None), (None, 2.0))
LINE = Coordinates((0.3, 1.0, 2.0, -1.0), (0.6, 2.0, 1.0, 1.0), LIMITS)


@pytest.mark.parametrize("arrays", [np, jnp])
def test_coordinates_there_and_back(arrays):
    random = np.random.default_rng(0)
    values = random.uniform([-1, -3, 0.1, -3], [1, 3, 4, 1.9], size=(50, 3, 4))
    places = LINE.real(arrays.asarray(values.astype(np.float32)))
    assert places.shape == values.shape
    np.testing.assert_allclose(LINE.physical(places), values, rtol=1e-4, atol=1e-4)
    uniform = scipy.stats.norm.ppf((values[..., 0] + 1) / 2)
    np.testing.assert_allclose(places[..., 0], uniform, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(places[..., 1], (values[..., 1] - 1) / 2, atol=1e-5)
    far = LINE.physical(arrays.asarray(random.normal(size=(9, 4)).astype("f") * 20))
    assert (np.abs(far[:, 0]) <= 1).all() and (far[:, 2] >= 0).all()
    assert (far[:, 3] <= 2).all() and np.isfinite(LINE.real(far)).all()


def test_slope_is_that_of_the_map():
    places = jnp.asarray(np.random.default_rng(1).normal(size=4).astype("f"))
    jacobian = jax.jacobian(LINE.physical)(places)
    wanted = np.linalg.slogdet(np.asarray(jacobian))[1]
    assert float(LINE.log_slope(places)) == pytest.approx(wanted, rel=1e-4)


def test_time_features():
    when = jnp.asarray(np.array([[0.0, 0.25]], np.float32))
    found = np.asarray(time_features(when, 2))[0]
    root = np.sqrt(0.5)
    np.testing.assert_allclose(
        found, [[0, 1, 1, 0, 0], [0.25, root, 0, root, 1]], atol=1e-6
    )


def test_the_loss_of_a_batch_is_that_of_its_parts_by_what_they_hold():
    """Rows of many sites, most of which the first part misses."""
    random = np.random.default_rng(0)
    found, wanted = random.normal(size=(2, 6, 2, 5)).astype(np.float32)
    there = random.random((6, 5)) < np.where(np.arange(6) < 2, 0.2, 0.9)[:, None]
    loss = matching_loss(SimpleNamespace(there=lambda batch: batch["there"]))

    def parts(*places):
        for place in places:
            batch = {VELOCITY: jnp.asarray(wanted[place])}
            batch |= {"there": jnp.asarray(there[place])}
            _, terms = loss({"velocity": jnp.asarray(found[place])}, batch, {})
            yield terms["velocity"], loss.sizes(batch, {}, samples=7)["velocity"]

    weight = np.broadcast_to(there[:, None], found.shape)
    exact = np.mean((found - wanted)[weight].astype(np.float64) ** 2)
    values, counts = np.array(list(parts(slice(0, 2), slice(2, 6)))).T
    np.testing.assert_allclose(np.average(values, weights=counts), exact, rtol=1e-5)
    assert abs(np.average(values, weights=[2, 4]) / exact - 1) > 1e-3
