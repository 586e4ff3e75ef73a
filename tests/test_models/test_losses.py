"""Losses against numpy in float64, and what they refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ConfigError
from models.losses import Loss, Term, absolute_error, huber_error, squared_error

ERRORS = {
    squared_error: lambda e: e**2,
    absolute_error: np.abs,
    huber_error: lambda e: np.where(np.abs(e) <= 1, 0.5 * e**2, np.abs(e) - 0.5),
}


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.__name__)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3))
def test_equals_numpy(error, seed, scale):
    random = np.random.default_rng(seed)
    a, b = scale * random.normal(size=(2, 3, 5, 2)).astype(np.float32)
    wanted = ERRORS[error]((a - b).astype(np.float64))
    np.testing.assert_allclose(error(jnp.asarray(a), jnp.asarray(b)), wanted, rtol=1e-5)


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.__name__)
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (5, 2), ()])
def test_refuses_to_broadcast_and_names_both_shapes(error, shape):
    with pytest.raises(ValueError, match=r"\(3, 5, 2\)") as caught:
        error(jnp.zeros((3, 5, 2)), jnp.zeros(shape))
    assert str(shape) in str(caught.value)


def test_huber_equals_torch():
    torch = pytest.importorskip("torch")
    a, b = np.random.default_rng(0).normal(size=(2, 50)) * 3
    wanted = torch.nn.functional.huber_loss(
        torch.tensor(a), torch.tensor(b), reduction="none", delta=0.7
    )
    got = huber_error(jnp.asarray(a), jnp.asarray(b), delta=0.7)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


def test_huber_gradient_is_finite_for_huge_errors():
    slope = jax.grad(lambda e: huber_error(e, jnp.zeros(())))
    np.testing.assert_allclose(slope(jnp.float32(1e30)), 1.0)
    np.testing.assert_allclose(slope(jnp.float32(0.0)), 0.0)


def test_terms_are_summed_with_numbers_and_traced_weights():
    loss = Loss(
        terms={
            "first": Term(function=lambda o, b, h: o["a"]),
            "second": Term(function=lambda o, b, h: b["c"], weight="loss.beta"),
            "third": Term(function=lambda o, b, h: o["a"] * b["c"], weight=0.5),
        }
    )
    beta = {"loss.beta": jnp.float32(3.0)}
    total, terms = loss({"a": jnp.float32(2)}, {"c": jnp.float32(5)}, beta)
    assert {k: float(v) for k, v in terms.items()} == {
        "first": 2.0,
        "second": 5.0,
        "third": 10.0,
    }
    assert float(total) == 2 + 3 * 5 + 0.5 * 10


def test_loss_refuses():
    def one(o, b, h):
        return jnp.float32(1)

    with pytest.raises(ConfigError, match="at least one"):
        Loss(terms={})
    with pytest.raises(ConfigError, match="skipped"):
        Loss(terms={"skipped": Term(function=one)})
    with pytest.raises(ConfigError, match=r"loss\.beta") as caught:
        Loss(terms={"a": Term(function=one, weight="loss.beat")})(
            {}, {}, {"loss.beta": jnp.float32(1)}
        )
    assert "loss.beta" in str(caught.value.hint)
    with pytest.raises(ValueError, match=r"`a`.*\(3,\)"):
        Loss(terms={"a": Term(function=lambda o, b, h: jnp.zeros(3))})({}, {}, {})
