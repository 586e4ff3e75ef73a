"""The optax chain against a plain float64 AdamW, the schedules against their formulas."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from models.errors import ConfigError
from models.training.optimizer import Optimizer

SETTINGS = {"weight_decay": 0.1, "clip_norm": 0.5, "b1": 0.8, "b2": 0.95}


def hyper_of(optimizer):
    return {f"optimizer.{k}": jnp.float32(v) for k, v in optimizer.traced().items()}


def gradients(step):
    random = np.random.default_rng(step)
    scale = [3.0, 0.01, 0.5][step % 3]  # above and below the clipping norm
    return {
        "a": (scale * random.normal(size=(3, 2))).astype(np.float32),
        "b": (scale * random.normal(size=(4,))).astype(np.float32),
    }


def start():
    random = np.random.default_rng(99)
    return {
        "a": random.normal(size=(3, 2)).astype(np.float32),
        "b": random.normal(size=(4,)).astype(np.float32),
    }


def run(optimizer, steps, *, spoil=()):
    hyper, params = hyper_of(optimizer), start()
    state = optimizer.init(hyper, params)
    update = jax.jit(
        lambda g, s, p, h, f: optimizer.update(
            ravel_pytree(g)[0], s, p, hyper=h, fraction=f
        )
    )
    for step in range(steps):
        g = gradients(step)
        if step in spoil:
            g["a"][0, 0] = np.inf
        params, state = update(g, state, params, hyper, jnp.float32(step / steps))
    return params


def test_equals_adamw_by_hand():
    """Loshchilov and Hutter 2019, algorithm 2, with clipping before the moments."""
    optimizer = Optimizer(learning_rate=0.01, schedule="constant", **SETTINGS)
    params = {k: v.astype(np.float64) for k, v in start().items()}
    first = {k: np.zeros_like(v) for k, v in params.items()}
    second = {k: np.zeros_like(v) for k, v in params.items()}
    for step in range(20):
        g = gradients(step)
        norm = np.sqrt(sum((x.astype(np.float64) ** 2).sum() for x in g.values()))
        for k in params:
            x = g[k] * min(1.0, 0.5 / norm)
            first[k] = 0.8 * first[k] + 0.2 * x
            second[k] = 0.95 * second[k] + 0.05 * x**2
            m, v = (
                first[k] / (1 - 0.8 ** (step + 1)),
                second[k] / (1 - 0.95 ** (step + 1)),
            )
            params[k] -= 0.01 * (m / (np.sqrt(v) + 1e-8) + 0.1 * params[k])
    got = run(optimizer, 20)
    for k in params:
        np.testing.assert_allclose(got[k], params[k], rtol=2e-5, atol=1e-6)


@pytest.mark.oracles
def test_equals_torch_adamw():
    torch = pytest.importorskip("torch")
    params = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in start().items()}
    peer = torch.optim.AdamW(
        params.values(), lr=0.01, betas=(0.8, 0.95), weight_decay=0.1
    )
    for step in range(20):
        for k, g in gradients(step).items():
            params[k].grad = torch.tensor(g)
        torch.nn.utils.clip_grad_norm_(params.values(), 0.5)
        peer.step()
    optimizer = Optimizer(learning_rate=0.01, schedule="constant", **SETTINGS)
    got = run(optimizer, 20)
    for k, value in params.items():
        np.testing.assert_allclose(got[k], value.detach(), rtol=1e-4, atol=1e-5)


def test_a_refused_update_leaves_parameters_and_moments_alone():
    optimizer = Optimizer(learning_rate=0.01, schedule="constant", **SETTINGS)
    hyper, params = hyper_of(optimizer), start()
    state = optimizer.init(hyper, params)
    kept = [jax.tree.map(np.asarray, (params, state.inner_state))]
    for bad in (np.nan, np.inf, -np.inf):
        g = gradients(0)
        g["b"][1] = bad
        params, state = optimizer.update(
            ravel_pytree(g)[0], state, params, hyper=hyper, fraction=jnp.float32(0)
        )
        kept.append(jax.tree.map(np.asarray, (params, state.inner_state)))
    for later in kept[1:]:
        jax.tree.map(np.testing.assert_array_equal, kept[0], later)
    good = ravel_pytree(gradients(1))[0]
    params, state = optimizer.update(
        good, state, params, hyper=hyper, fraction=jnp.float32(0)
    )
    assert not np.array_equal(params["a"], kept[0][0]["a"])


def rates(optimizer, fractions):
    hyper = hyper_of(optimizer)
    return [float(optimizer.rate(hyper, jnp.float32(f))) for f in fractions]


def test_schedules():
    grid = np.linspace(0, 1, 21)
    np.testing.assert_allclose(
        rates(Optimizer(learning_rate=2.0, schedule="constant"), grid), 2.0
    )
    flat = np.where(grid < 0.6, 2.0, 1 + np.cos(np.pi * (grid - 0.6) / 0.4))
    got = rates(Optimizer(learning_rate=2.0, decay_start=0.6), grid)
    np.testing.assert_allclose(got, flat, atol=1e-5)
    warm = np.where(
        grid < 0.2, 2.0 * grid / 0.2, 1 + np.cos(np.pi * (grid - 0.2) / 0.8)
    )
    optimizer = Optimizer(learning_rate=2.0, schedule="warmup_cosine", warmup=0.2)
    np.testing.assert_allclose(rates(optimizer, grid), warm, atol=1e-5)


@pytest.mark.parametrize("edge", [0.0, 1.0])
@pytest.mark.parametrize("schedule", ["flat_cosine", "warmup_cosine"])
def test_schedules_at_their_edges_stay_finite_and_positive_inside(schedule, edge):
    optimizer = Optimizer(schedule=schedule, decay_start=edge, warmup=edge)
    got = rates(optimizer, np.linspace(0.01, 0.99, 11))
    assert np.isfinite(got).all()
    assert min(got) > 0
    assert max(got) <= np.float32(optimizer.learning_rate)
    beyond = rates(optimizer, [1.0, 1.5])
    assert beyond[0] == beyond[1]


def test_refuses():
    with pytest.raises(ConfigError, match="flat_cosine") as caught:
        Optimizer(schedule="flat_cos")
    assert "flat_cosine" in str(caught.value)
    with pytest.raises(ConfigError, match="learning_rate"):
        Optimizer(learning_rate=-1.0)
    with pytest.raises(ConfigError, match="b2"):
        Optimizer(b2=1.0)


def test_an_average_that_is_not_taken_leaves_no_trace():
    """Configurations from before there was one keep their signature and checkpoints."""
    plain, kept = Optimizer(), Optimizer(averaged=True, average=0.9)
    assert plain.static_signature() == Optimizer(average=0.5).static_signature()
    assert "average" not in plain.traced() and kept.traced()["average"] == 0.9
    assert not any("average" in key for key, _ in plain.static_signature()[1:])
    assert ("averaged", True) in kept.static_signature()
    with pytest.raises(ConfigError, match="averages no parameters"):
        Optimizer(kind="levenberg_marquardt", averaged=True)
