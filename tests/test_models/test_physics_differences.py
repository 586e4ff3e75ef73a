"""The nine differences: their order up to both ends, their rounding, what they refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.errors import ConfigError
from models.physics.differences import DIFFERENCES, difference, stencil

# Order of the derivative and of the error, as their names and textbooks have them.
WANTED = {
    "diff1_forward": (1, 1),
    "diff1_forward_double": (1, 1),
    "diff1_central": (1, 2),
    "diff1_central4_double": (1, 4),
    "diff2_forward": (2, 1),
    "diff2_central": (2, 2),
    "diff2_central_double": (2, 2),
    "diff3_forward": (3, 1),
    "diff3_central": (3, 2),
}
RATE = 1.3


def wave(t, derivative):
    """A derivative of exp(RATE t), whose every derivative is itself: no order hides."""
    return RATE**derivative * np.exp(RATE * t)


def test_there_are_nine():
    assert set(DIFFERENCES) == set(WANTED)


@pytest.mark.parametrize("name", WANTED)
def test_the_error_falls_with_its_order_inside_and_at_both_ends(name):
    derivative, order = WANTED[name]
    errors = []
    apply = jax.jit(difference(name).__call__)
    with jax.enable_x64(True):
        for samples in (41, 81, 161):
            t = np.linspace(0.0, 2.0, samples)
            values = jnp.asarray(wave(t, 0))[None, :, None]
            got = np.asarray(apply(values, step=t[1]))[0, :, 0]
            assert got.shape == t.shape
            wrong = np.abs(got / wave(t, derivative) - 1)
            middle = wrong[samples // 2]
            errors.append([middle, wrong[0], wrong[-1], wrong[1], wrong[-2]])
    slopes = np.log2(np.array(errors)[:-1] / np.array(errors)[1:])
    assert slopes[-1][0] == pytest.approx(order, abs=0.1)
    # a stencil that an end has moved may be central by chance, and better
    assert slopes[-1].min() > order - 0.1


def test_stencils_are_those_of_the_reference():
    assert stencil(1, (-2, -1, 0, 1, 2)) == ((1, -8, 0, 8, -1), 12)
    assert stencil(2, (-1, 0, 1)) == ((1, -2, 1), 1)
    assert stencil(3, (0, 1, 2, 3)) == ((-1, 3, -3, 1), 1)
    assert stencil(3, (-2, -1, 0, 1, 2)) == ((-1, 2, 0, -2, 1), 2)
    assert stencil(1, (0, 1, 2, 3, 4)) == ((-25, 48, -36, 16, -3), 12)


@pytest.mark.parametrize("name", [n for n in WANTED if n.endswith("_double")])
def test_double_equals_a_computation_in_float64_without_x64(name):
    """To the last place of single precision, where the plain sum loses a third of it."""
    operator = DIFFERENCES[name]
    random = np.random.default_rng(0)
    samples = (1000 + np.cumsum(random.normal(size=(3, 50, 2)), axis=1)).astype(
        np.float32
    )
    got = np.asarray(jax.jit(lambda v: operator(v, step=1.0))(samples))
    assert got.dtype == np.float32
    with jax.enable_x64(True):
        wanted = np.asarray(operator(jnp.asarray(samples, jnp.float64), step=1.0))
    np.testing.assert_allclose(got, wanted, rtol=2e-7)
    if operator.accuracy > 1:  # one difference of neighbours loses nothing anyway
        plain = np.asarray(
            type(operator)(
                derivative=operator.derivative,
                accuracy=operator.accuracy,
                offsets=operator.offsets,
            )(jnp.asarray(samples), step=1.0)
        )
        assert np.abs(plain - wanted).max() > 100 * np.abs(got - wanted).max()


@pytest.mark.parametrize("name", ["diff1_central4_double", "diff3_central"])
def test_is_linear_in_every_sample(name):
    """What gradients see is the transposed stencil."""
    operator = DIFFERENCES[name]
    apply = jax.jit(lambda v: operator(v[None, :, None], step=0.5)[0, :, 0])
    matrix = jax.jit(jax.jacrev(apply))(jnp.zeros(7))
    signal = np.random.default_rng(1).normal(size=7).astype(np.float32)
    got = apply(signal)
    np.testing.assert_allclose(np.asarray(matrix) @ signal, got, rtol=1e-4, atol=1e-4)


def test_too_short_a_signal_is_refused():
    with pytest.raises(ConfigError, match="reads 5 samples, got a signal of 4"):
        difference("diff1_central4_double")(jnp.zeros((1, 4, 1)), step=1.0)


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="unknown difference") as caught:
        difference("diff1_centre")
    assert "diff1_central" in caught.value.hint
