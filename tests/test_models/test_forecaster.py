"""The families of forecasts: a network built of torch, fresh augmenters, and what is refused."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import dlinear, forecaster, patch
from models.data.statistics import Statistics
from models.errors import ConfigError, DataError
from models.forecasting import Frame
from models.layers.calendar import FINE_MARKS
from models.training.protocol import Context
from tests.test_models.task_data import sequences

MEAN, STD = {"y": [1.0, -2.0, 30.0]}, {"y": [2.0, 0.5, 9.0]}
LOOK_BACK, HORIZON = 12, 4
STATISTICS = Statistics(
    mean={r: np.array(v) for r, v in MEAN.items()},
    std={r: np.array(v) for r, v in STD.items()},
    count=100,
)
SMALL = {
    "model.d_model": 8,
    "model.heads": 2,
    "model.blocks": 2,
    "model.hidden_size": 12,
    "data.window": LOOK_BACK + HORIZON,
}


def task_data(**settings):
    data = sequences(STATISTICS, "forecast", horizon=HORIZON, **settings)
    reference = dataclasses.replace(data.reference, sampling_rate=1 / 3600)
    return dataclasses.replace(data, reference=reference)


def built(family, config, **settings):
    """The model of a configuration, and a function from a batch to the horizon."""
    config = family.Config.from_flat(config)
    data = task_data(**settings)
    frame = Frame.of(data, config.data)
    model = family.problem(config, data).build(jax.random.key(0))
    return model, lambda batch, key=None: np.asarray(model(batch, frame, key=key))


def batch(rows=3, earlier=0, seed=0):
    random = np.random.default_rng(seed)
    length = LOOK_BACK + HORIZON + earlier
    y = random.normal(size=(rows, length, 3)).cumsum(axis=1) * STD["y"] + MEAN["y"]
    given = np.arange(length)[None, :, None] < length - HORIZON
    hours = 20.0 + np.arange(length)[None] + 100 * np.arange(rows)[:, None]
    t = np.stack([19700 + hours // 24, hours % 24 * 3600], axis=-1)
    return {
        "y": jnp.asarray(np.where(given, y, MEAN["y"]), jnp.float32),
        "given.y": jnp.asarray(np.broadcast_to(given, y.shape)),
        "t": jnp.asarray(t, jnp.float32),
    }


@pytest.mark.oracles
def test_the_network_equals_one_built_of_torch():
    """Tokens of columns and of the calendar, two blocks, a norm, a head, and back."""
    torch = pytest.importorskip("torch")
    config = {**SMALL, "model.calendar": True}
    model, run = built(forecaster, config, calendar=True)
    there = batch()
    peer = torch.nn.ModuleDict(
        {
            "read": torch.nn.Linear(LOOK_BACK, 8),
            "encoder": torch.nn.TransformerEncoder(
                torch.nn.TransformerEncoderLayer(
                    8, 2, 12, 0.0, activation="gelu", batch_first=True
                ),
                2,
                norm=torch.nn.LayerNorm(8),
                enable_nested_tensor=False,
            ),
            "head": torch.nn.Linear(8, HORIZON),
        }
    )

    def copy(theirs, ours, *, name="weight"):
        values = np.asarray(ours.weight[...]).T if name == "weight" else ours
        theirs.weight.copy_(torch.from_numpy(np.array(values)))
        theirs.bias.copy_(torch.from_numpy(np.array(ours.bias[...])))

    with torch.no_grad():
        copy(peer["read"], model.read)
        copy(peer["head"], model.head)
        for theirs, ours in zip(peer["encoder"].layers, model.blocks, strict=True):
            theirs.self_attn.in_proj_weight.copy_(
                torch.from_numpy(np.array(ours.attention.weight[...].T))
            )
            theirs.self_attn.in_proj_bias.copy_(
                torch.from_numpy(np.array(ours.attention.bias[...]))
            )
            copy(theirs.self_attn.out_proj, ours.attention.out)
            copy(theirs.linear1, ours.widen)
            copy(theirs.linear2, ours.narrow)
        past = torch.from_numpy(np.array(there["y"][:, :LOOK_BACK]))
        x = (past - torch.tensor(MEAN["y"])) / torch.tensor(STD["y"])
        mean = x.mean(1, keepdim=True)
        std = torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5)
        hours = there["t"][:, :LOOK_BACK]
        days = hours[..., 0].astype(int)
        # 20 hours after the beginning of 2023-12-09, and 100 hours later each.
        dates = np.datetime64("1970-01-01") + np.asarray(days)
        months = dates.astype("datetime64[M]")
        years = dates.astype("datetime64[Y]")
        marks = np.stack(
            [
                np.asarray(hours[..., 1]) / 3600 / 23,
                (np.asarray(days) + 3) % 7 / 6,
                (dates - months).astype(int) / 30,
                (dates - years).astype(int) / 365,
            ],
            axis=1,
        )
        columns = torch.cat(
            [((x - mean) / std).transpose(1, 2), torch.from_numpy(marks - 0.5)], dim=1
        )
        tokens = peer["encoder"](peer["read"](columns.float()))
        found = peer["head"](tokens[:, :3]).transpose(1, 2) * std + mean
        wanted = found * torch.tensor(STD["y"]) + torch.tensor(MEAN["y"])
    np.testing.assert_allclose(run(there), wanted.numpy(), rtol=1e-5, atol=1e-5)


def compiled(model, there, key):
    """The horizon by one program, dropout included."""
    frame = Frame(
        look_back=LOOK_BACK, horizon=HORIZON, mean=MEAN["y"], std=np.array(STD["y"])
    )
    graph, state = nnx.split(model)

    @jax.jit
    def run(state, there):
        return nnx.merge(graph, state)(there, frame, key=key)

    return np.asarray(run(state, there))


@pytest.mark.parametrize("options", [{}, {"augmenter.summarizer": "plain"}])
def test_a_fresh_add_is_none_to_the_bit(options):
    if options:
        options = {**options, "augmenter.queries": 1, "augmenter.ar": "inclusive"}
    there = batch()
    _, none = built(forecaster, SMALL)
    model, add = built(forecaster, {**SMALL, "augmenter.mode": "add", **options})
    np.testing.assert_array_equal(add(there), none(there))
    key = jax.random.key(3)
    for rate in (model.rate, *(b.rate for b in model.blocks)):
        rate.set_value(jnp.asarray(0.3))
    plain, dropping = built(forecaster, SMALL)
    for rate in (plain.rate, *(b.rate for b in plain.blocks)):
        rate.set_value(jnp.asarray(0.3))
    np.testing.assert_array_equal(add(there, key), dropping(there, key))
    # Compiled, the two are programs that XLA rounds differently, behind barriers too.
    np.testing.assert_allclose(
        compiled(model, there, key), compiled(plain, there, key), rtol=5e-6, atol=1e-5
    )
    model.augmented.out.set_value(jnp.ones((8, 8)))
    assert np.abs(add(there) - none(there)).max() > 1e-3


@pytest.mark.parametrize("mode", ["concat", "gated", "replace"])
def test_other_modes_see_the_augmenter(mode):
    """What only the augmenter is told: the level that reversible normalization takes out."""
    model, run = built(forecaster, {**SMALL, "augmenter.mode": mode})
    there = batch()
    step = 5 * jnp.asarray(STD["y"], jnp.float32)[None, None]
    raised = {**there, "y": there["y"] + step}
    moved = (run(raised) - run(there)) / STD["y"]
    assert np.abs(moved - 5).max() > 1e-3
    _, none = built(forecaster, SMALL)
    np.testing.assert_allclose((none(raised) - none(there)) / STD["y"], 5, atol=1e-3)
    if mode == "gated":  # shut, it is the model without
        model.augmented.join.bias.set_value(jnp.full((8,), -1e4))
        np.testing.assert_allclose(run(there), none(there), rtol=1e-4)


def test_a_cycle_is_taken_out_and_put_back():
    config = {**SMALL, "model.cycle": 24, "model.linear": True}
    model, run = built(forecaster, config, calendar=True)
    there = batch()
    still = {**there, "y": jnp.broadcast_to(jnp.asarray(MEAN["y"]), there["y"].shape)}
    before = run(still)
    values = jnp.asarray(np.random.default_rng(1).normal(size=(24, 3)), jnp.float32)
    model.cycle.values.set_value(values)
    places = np.asarray(there["t"])[..., 1] // 3600
    cycle = np.asarray(values)[places.astype(int)] * STD["y"]
    moved = {**still, "y": still["y"] + jnp.asarray(cycle, jnp.float32)}
    np.testing.assert_allclose(run(moved) - before, cycle[:, LOOK_BACK:], atol=1e-4)
    model.past.weight.set_value(model.past.weight[...] + 1)
    assert np.abs(run(there) - run(still)).max() > 1e-2


def test_columns_see_each_other_in_the_forecaster_alone_where_it_mixes():
    there = batch()
    other = {**there, "y": there["y"].at[:, 5, 0].add(20.0)}
    small = {"data.window": LOOK_BACK + HORIZON}
    patches = {**small, "model.length": 6, "model.stride": 3, "model.d_model": 8}
    for family, config in (
        (patch, patches),
        (dlinear, {**small, "model.kernel": 5}),
        (dlinear, {**small, "model.kernel": 5, "model.individual": True}),
        (forecaster, {**SMALL, "model.mixing": False, "model.calendar": True}),
    ):
        _, run = built(family, config, calendar=True)
        moved = np.abs(run(other) - run(there)).max(axis=(0, 1))
        assert moved[0] > 1e-3 and not moved[1:].any(), family.__name__
    _, run = built(forecaster, SMALL)
    assert np.abs(run(other) - run(there)).max(axis=(0, 1)).min() > 1e-4


def test_dlinear_is_two_maps():
    """Of each column's own, against numpy; more of the past than is looked at is no matter."""
    config = {"data.window": LOOK_BACK + HORIZON, "model.kernel": 3}
    config |= {"model.individual": True, "model.normalization": "off"}
    model, run = built(dlinear, config)
    there = batch(earlier=5)
    x = (np.asarray(there["y"], float)[:, 5 : 5 + LOOK_BACK] - MEAN["y"]) / STD["y"]
    held = np.concatenate([x[:, :1], x, x[:, -1:]], axis=1)
    trend = (held[:, :-2] + held[:, 1:-1] + held[:, 2:]) / 3
    weights = {
        n: np.asarray(getattr(model, n)[...])
        for n in ("trend_weight", "trend_bias", "season_weight", "season_bias")
    }
    wanted = sum(
        np.einsum("blc,clh->bhc", values, weights[f"{name}_weight"])
        + weights[f"{name}_bias"].T
        for name, values in (("trend", trend), ("season", x - trend))
    )
    np.testing.assert_allclose(
        run(there), wanted * STD["y"] + MEAN["y"], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("family", "config", "settings", "message"),
    [
        (forecaster, {"model.d_model": 30, "model.heads": 4}, {}, "got 30 and 4"),
        (patch, {"model.d_model": 30, "model.heads": 4}, {}, "got 30 and 4"),
        (forecaster, {"model.calendar": True}, {}, "`model.calendar` needs to know"),
        (forecaster, {"model.cycle": 24}, {}, "`model.cycle` needs to know when"),
        (forecaster, {"model.cycle": 25}, {"calendar": True}, "`model.cycle` 25"),
        (
            forecaster,
            {"augmenter.mode": "add", "augmenter.ar_order": 12},
            {},
            "13 rows",
        ),
        (forecaster, {"augmenter.features": ["acf", "fft"]}, {}, "got 'fft'"),
        (forecaster, {"augmenter.summarizer": "plain"}, {}, "has one query"),
        (forecaster, {"data.order": "consecutive"}, {}, "carries no state"),
        (forecaster, {"data.window": 4}, {}, "longer than the horizon of 4"),
        (dlinear, {"model.kernel": 4}, {}, "must be odd"),
        (patch, {"model.length": 13}, {}, "at most the look-back, got 13 and 12"),
    ],
)
def test_what_does_not_fit_together_is_refused(family, config, settings, message):
    config = {"data.window": LOOK_BACK + HORIZON, **config}
    with pytest.raises(ConfigError, match=message) as caught:
        problem = family.problem(family.Config.from_flat(config), task_data(**settings))
        problem.build(jax.random.key(0))
    assert caught.value.hint or "fft" in message


@pytest.mark.parametrize("seconds", [0.25, 1.5])
def test_rows_less_than_whole_seconds_apart(seconds):
    """They have a calendar, minutes among it, and no cycle."""
    data = task_data(calendar=True)
    reference = dataclasses.replace(data.reference, sampling_rate=1 / seconds)
    data = dataclasses.replace(data, reference=reference)
    config = forecaster.Config.from_flat({**SMALL, "model.calendar": True})
    model = forecaster.problem(config, data).build(jax.random.key(0))
    assert model.marks == FINE_MARKS
    config = forecaster.Config.from_flat({**SMALL, "model.cycle": 24})
    with pytest.raises(ConfigError, match=f"24 with {seconds} s between two rows"):
        forecaster.problem(config, data)


def test_a_look_back_beyond_a_part_is_refused(tmp_path):
    example = forecaster.example("forecast")
    context: Context = example.context(tmp_path)
    for family in (forecaster, dlinear):
        with pytest.raises(DataError, match="must not be longer .* got 400") as caught:
            family.create({"data.window": 400}, context)
        assert "at most 288" in caught.value.hint
