"""The linear probe of a hidden state: numpy's least squares, and what it must say of itself."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from models import vae, vqvae
from models.coded import probes
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.statistics import Statistics
from models.errors import DataError
from models.metrics.probe import FOLDS, Probe
from studies.five_families import STUDY
from tests.test_models.task_data import sequences

PROBE = Probe(name="r2", code=lambda o: o["code"], truth=lambda b: (b["x"], b["seen"]))


def probed(code, truth, seen=None, cuts=()):
    """R² of all rows, taken in batches that end at `cuts`."""
    seen = np.ones(len(truth), bool) if seen is None else seen
    arrays = (code.astype(np.float32), truth.astype(np.float32), seen)
    state = None
    for code, x, mask in zip(*(np.split(a, cuts) for a in arrays), strict=True):
        pair = {"code": jnp.asarray(code)}, {"x": jnp.asarray(x), "seen": mask}
        state = PROBE.init(*pair) if state is None else state
        state = PROBE.update(state, *pair)
    return float(PROBE.finish(state))


def by_lstsq(code, truth, seen):
    """The same by fits of one fold after the other, in float64."""
    fold, left = np.arange(len(truth)) % FOLDS, []
    regressors = np.column_stack([code, np.ones(len(code))])
    for number in range(FOLDS):
        own, others = seen & (fold == number), seen & (fold != number)
        weights = np.linalg.lstsq(regressors[others], truth[others])[0]
        left.append(truth[own] - regressors[own] @ weights)
    return 1 - np.sum(np.concatenate(left) ** 2) / (truth[seen].var() * seen.sum())


def rows(count=67, latents=5, seed=0):
    """Codes far from zero and of unlike sizes, and a truth that they half tell."""
    random = np.random.default_rng(seed)
    plain = random.normal(size=(count, latents))
    truth = plain @ random.normal(size=latents) + random.normal(size=count) * 2 + 50
    return plain * np.logspace(-3, 2, latents) + 7, truth


@pytest.mark.parametrize("cuts", [(), (1, 4, 40)])
def test_equals_least_squares_fold_by_fold_however_it_is_cut(cuts):
    code, truth = rows()
    seen = np.random.default_rng(1).random(len(truth)) < 0.8
    wanted = by_lstsq(code, truth, seen)
    assert 0.2 < wanted < 0.9
    hidden = np.where(seen, truth, -1e3)  # whatever stands where nothing was seen
    assert probed(code, hidden, seen, cuts) == pytest.approx(wanted, abs=2e-3)


def test_a_code_that_is_the_truth_tells_all_of_it_and_noise_nothing():
    code, truth = rows(count=2000)
    assert probed(np.column_stack([code, 3 - truth / 9]), truth) > 0.9999
    noise = np.random.default_rng(2).normal(size=code.shape)
    assert probed(noise, truth) == pytest.approx(0, abs=0.02)


def test_no_window_is_judged_by_a_map_that_was_fitted_to_it():
    """As many numbers as rows fit any truth; others are then foretold worse than by a mean."""
    noise = np.random.default_rng(3).normal(size=(40, 35))
    assert probed(noise, rows(count=40)[1]) < 0


def test_numbers_that_never_change_or_repeat_others_do_no_harm():
    code, truth = rows()
    more = np.column_stack([code, code[:, 0], np.full(len(code), 1.3)])
    assert probed(more, truth) == pytest.approx(probed(code, truth), abs=2e-3)


def test_the_truth_is_that_of_the_last_known_sample_and_has_its_mask():
    x = np.arange(2 * 12 * 2.0).reshape(2, 12, 2)
    seen = np.ones(x.shape, bool)
    seen[1, 4, 1] = False
    data = data_with("u", "y", "x", "x")
    first, second = probes(data, known=5, code=lambda o: o["code"])
    assert (first.name, second.name) == ("probe_r2.x0", "probe_r2.x1")
    values, mask = second.truth({"x": x, "seen.x": seen})
    np.testing.assert_array_equal(values, x[:, 4, 1])
    np.testing.assert_array_equal(mask, [True, False])
    assert np.asarray(first.truth({"x": x})[1]).all()


@pytest.mark.parametrize(
    ("family", "outputs"),
    [(vae, {"code": {"mean": "it"}}), (vqvae, {"vectors": "it", "code": "losses"})],
)
def test_families_report_it_only_where_there_is_a_truth(family, outputs):
    def found(data):
        config = family.Config.from_flat({"data.window": 12})
        metrics = family.problem(config, data).metrics
        return [m for m in metrics if m.name.startswith("probe_r2")]

    (probe,) = found(data_with("u", "y", "x"))
    assert probe.code(outputs) == "it"
    assert not found(data_with("u", "y"))


def data_with(*roles):
    """A prediction from 5 known outputs; a role counts as often as it is named."""
    one = {role: np.ones(roles.count(role)) for role in roles}
    statistics = Statistics(mean=one, std=one, count=10)
    return sequences(statistics, task="prediction", known=5, horizon=7)


# -- simulated truth --------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HPO_CACHE", str(tmp_path))


def test_the_studys_data_with_its_truth_is_the_data_without(cache):
    """What `five_families` measured before it asked for the truth still holds."""
    request = {**STUDY.data, "samples": 512}
    plain = {key: value for key, value in request.items() if key != "truth"}
    assert request != plain
    one, other = (open_dataset(prepare(asked)) for asked in (plain, request))
    assert one.reference.roles == {"u": ("u0",), "y": ("y0",)}
    assert one.reference.settings == other.reference.settings
    for part in ("train", "valid", "test"):
        before, now = one.part(part).load(0), other.part(part).load(0)
        assert before.keys() == {"u", "y"} and now.keys() == {"u", "y", "x"}
        for role in before:
            np.testing.assert_array_equal(before[role], now[role])
    # The truth is the level that the lower tank's inflow follows, by Torricelli's law.
    train = other.part("train").load(0)
    upper, lower = train["x"][:, 0], train["y"][:, 0]
    change = np.gradient(lower, 4.0)  # seconds
    below = (upper < 9.9) & (lower < 9.9) & (np.arange(512) > 5)
    inflow = 0.05 * (np.sqrt(upper) - np.sqrt(np.maximum(lower, 0)))
    assert np.corrcoef(inflow[below], change[below])[0, 1] > 0.95


@pytest.mark.parametrize(
    ("name", "truth"),
    [("duffing", "x0"), ("simulated_cascaded_tanks", ["x0", "x1"])],
)
def test_a_state_that_no_simulator_has_is_refused_before_anything_is_made(
    name, truth, cache, tmp_path
):
    with pytest.raises(DataError, match=f"`{name}` has no hidden state") as refused:
        prepare({"name": name, "samples": 512, "truth": truth})
    assert "`simulated_cascaded_tanks` (x0)" in refused.value.hint
    assert not list(tmp_path.iterdir())
