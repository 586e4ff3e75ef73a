"""The compiled kernels against textbook equations in double precision, over odd sizes."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers import recurrence
from models.layers.kernels import compiled, recurrent
from models.training.programs import ProgramTable
from tests.test_models.test_layers_recurrence import CELLS, by_the_book, draw, results

KERNELS = {"gru": recurrent.gru, "lstm": recurrent.lstm}
SIZES = list(itertools.product((1, 5, 16, 33), (1, 3, 17, 64), (1, 2, 7), (1, 2, 50)))
# Every size of every axis, and the awkward ones together.
FEW = [(1, 1, 1, 1), (5, 3, 2, 50), (16, 64, 1, 2), (33, 17, 7, 50), (33, 1, 1, 50)]


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    monkeypatch.delenv("HPO_KERNELS", raising=False)
    if compiled.choice() == "off":
        pytest.skip(compiled.reason())


def single(tree):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), tree)


def double(tree):
    """The same numbers in double precision; call it with x64 switched on."""
    return jax.tree.map(lambda a: jnp.asarray(np.float32(a).astype(np.float64)), tree)


def moderate(cell, inputs, size, batch, length, seed=0):
    """As `draw`, with the weights a trained layer has: U(-1/√H, 1/√H)-like."""
    weights, *rest = draw(cell, inputs, size, batch, length, seed)
    return (jax.tree.map(lambda w: w / np.sqrt(size), weights), *rest)


def error(got, wanted):
    """The largest error, on the scale of the array but at least of 1."""
    largest = 0.0
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        a, b = np.float64(a), np.float64(b)
        largest = max(largest, np.abs(a - b).max() / max(1, np.abs(b).max()))
    return float(largest)


def compare(cell, size, batch, inputs, length):
    case = moderate(cell, inputs, size, batch, length)
    weights, x, state, d_outputs, d_final = single(case)
    got = results(CELLS[cell][0], (d_outputs, d_final), weights, x, state)
    with jax.enable_x64(True):
        weights, x, state, d_outputs, d_final = double(case)
        wanted = results(
            lambda *a: by_the_book(cell, *a), (d_outputs, d_final), weights, x, state
        )
    (outputs, final), gradients = got
    assert outputs.dtype == jnp.float32
    assert error((outputs, final), wanted[0]) <= 2e-6
    # Weight gradients sum over all samples: their rounding grows with the root of the count.
    assert error(gradients, wanted[1]) <= 2e-6 * max(1, (batch * length) ** 0.5 / 16)


@pytest.mark.parametrize("sizes", FEW, ids=str)
@pytest.mark.parametrize("cell", KERNELS)
def test_any_size(cell, sizes):
    compare(cell, *sizes)


@pytest.mark.slow
@pytest.mark.parametrize("cell", KERNELS)
@pytest.mark.parametrize("size", (1, 5, 16, 33))
def test_every_size(cell, size):
    for sizes in SIZES:
        if sizes[0] == size:
            compare(cell, *sizes)


@pytest.mark.parametrize("cell", KERNELS)
def test_the_kernel_computes_and_only_in_single_precision(cell, monkeypatch):
    case = moderate(cell, 1, 5, 3, 4)[:3]

    def text(arguments):
        # A function of its own each time: `jit` remembers what it has traced.
        return jax.jit(lambda *a: CELLS[cell][0](*a)).lower(*arguments).as_text()

    assert f"hpo_{cell}_forward" in text(single(case))
    with jax.enable_x64(True):
        assert "hpo_" not in text(double(case))
    monkeypatch.setenv("HPO_KERNELS", "off")
    assert "hpo_" not in text(single(case))


@pytest.mark.parametrize("cell", KERNELS)
def test_another_backend_gets_pure_jax(cell, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not compiled.usable(jnp.zeros(3))
    assert compiled.in_force() == "off"


@pytest.mark.parametrize("cell", KERNELS)
def test_gradient_of_the_initial_state_by_finite_differences(cell):
    weights, x, state, d_outputs, d_final = moderate(cell, 2, 5, 3, 6)

    def score(state):
        outputs, final = by_the_book(cell, *double((weights, x)), state)
        leaves = zip(jax.tree.leaves(final), jax.tree.leaves(d_final), strict=True)
        return (outputs * d_outputs).sum() + sum((a * b).sum() for a, b in leaves)

    _, pull = jax.vjp(CELLS[cell][0], *single((weights, x, state)))
    _, _, gradient = pull(single((d_outputs, d_final)))
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        for _ in range(3):
            direction = jax.tree.map(lambda s: rng.normal(size=s.shape), state)
            up, down = (
                score(
                    jax.tree.map(
                        lambda s, d, h=h: jnp.asarray(s + h * d), state, direction
                    )
                )
                for h in (1e-5, -1e-5)
            )
            pairs = zip(
                jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True
            )
            along = sum(float((np.float64(g) * d).sum()) for g, d in pairs)
            assert along == pytest.approx(float(up - down) / 2e-5, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("cell", KERNELS)
def test_lanes_give_the_bits_of_each_alone(cell):
    lanes = [single(moderate(cell, 2, 5, 3, 4, seed=s)) for s in range(3)]

    def both(weights, x, state, d_outputs, d_final):
        values, pull = jax.vjp(CELLS[cell][0], weights, x, state)
        return values, pull((d_outputs, d_final))

    stacked = jax.tree.map(lambda *a: jnp.stack(a), *lanes)
    together = jax.jit(jax.vmap(both))(*stacked)
    for k, lane in enumerate(lanes):
        alone = jax.jit(both)(*lane)
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_array_equal(a[k], b)


@pytest.mark.parametrize("cell", KERNELS)
def test_lanes_may_share_weights(cell):
    weights, x, state, *_ = single(moderate(cell, 1, 5, 2, 4))
    many = jnp.stack([x, 2 * x])
    outputs, _ = jax.vmap(CELLS[cell][0], in_axes=(None, 0, None))(weights, many, state)
    np.testing.assert_array_equal(outputs[1], CELLS[cell][0](weights, 2 * x, state)[0])


@pytest.mark.parametrize("cell", KERNELS)
def test_sequences_of_a_batch_do_not_touch_each_other(cell):
    """A sequence's numbers are the same bits in any batch: alone, first or in a rest of 1."""
    weights, x, state, *_ = single(moderate(cell, 2, 5, 17, 6))
    whole, _ = CELLS[cell][0](weights, x, state)
    for k in (0, 3, 16):
        one, _ = CELLS[cell][0](
            weights, x[k : k + 1], jax.tree.map(lambda s, k=k: s[k : k + 1], state)
        )
        np.testing.assert_array_equal(whole[k], one[0])


@pytest.mark.parametrize("cell", KERNELS)
def test_gradients_of_data_are_not_computed(cell):
    weights, x, state, *_ = single(moderate(cell, 7, 5, 3, 4))

    def loss(weights, x):
        return (CELLS[cell][0](weights, x, state)[0] ** 2).sum()

    def backward(arguments):
        lowered = jax.jit(jax.grad(loss, arguments)).lower(weights, x).as_text()
        return next(line for line in lowered.splitlines() if "_backward" in line)

    assert "-> (tensor<0xf32>" in backward(0)
    assert "-> (tensor<4x3x7xf32>" in backward((0, 1))
    only, (also, _) = (jax.grad(loss, a)(weights, x) for a in (0, (0, 1)))
    for a, b in zip(only, also, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cell", KERNELS)
def test_a_final_state_that_nobody_uses(cell):
    weights, x, state, *_ = single(moderate(cell, 2, 5, 3, 4))

    def gradient(loss):
        return jax.grad(lambda w: loss(*CELLS[cell][0](w, x, state)))(weights)

    states = gradient(lambda outputs, final: (outputs[:, -1] ** 2).sum())
    last = gradient(lambda outputs, final: (jax.tree.leaves(final)[0] ** 2).sum())
    assert error(states, jax.tree.map(np.float64, last)) < 1e-6


@pytest.mark.parametrize("cell", KERNELS)
def test_no_samples_and_no_sequences(cell):
    weights, x, state, *_ = single(moderate(cell, 2, 5, 3, 4))
    outputs, final = CELLS[cell][0](weights, x[:, :0], state)
    assert outputs.shape == (3, 0, 5)
    jax.tree.map(np.testing.assert_array_equal, final, state)
    nobody = jax.tree.map(lambda s: s[:0], state)
    assert CELLS[cell][0](weights, x[:0], nobody)[0].shape == (0, 4, 5)


@pytest.mark.parametrize("cell", KERNELS)
def test_shapes_that_do_not_fit_are_refused(cell):
    """A kernel trusts its shapes; a wrong one must never reach it."""
    weights, x, state, *_ = single(moderate(cell, 2, 5, 3, 4))
    with pytest.raises(TypeError, match="input_weight"):
        CELLS[cell][0](weights, x[..., :1], state)
    with pytest.raises(TypeError, match="state"):
        CELLS[cell][0](weights, x[:2], state)


@pytest.mark.parametrize("cell", KERNELS)
def test_what_is_not_a_number_stays_none(cell):
    """Divergence must be seen: clamped arguments must not turn NaN into a limit."""
    weights, x, state, *_ = single(moderate(cell, 1, 5, 3, 4))
    outputs, final = CELLS[cell][0](weights, x.at[1, 2].set(jnp.nan), state)
    assert np.isfinite(outputs[jnp.array([0, 2])]).all()
    assert np.isfinite(outputs[1, :2]).all() and np.isnan(outputs[1, 2:]).all()
    assert np.isnan(jax.tree.leaves(final)[-1][1]).all()


def test_programs_are_keyed_by_the_kernels(monkeypatch):
    table = ProgramTable(limit=4)
    weights, x, state, *_ = single(moderate("gru", 1, 33, 3, 50))

    def outputs():
        program, seconds = table.get("gru", recurrence.gru, (weights, x, state))
        return np.asarray(program.call(weights, x, state)[0]), seconds

    compiled_once, _ = outputs()
    monkeypatch.setenv("HPO_KERNELS", "off")
    pure, _ = outputs()
    assert len(table) == 2
    np.testing.assert_allclose(compiled_once, pure, atol=1e-6)
    assert (compiled_once != pure).any(), "one and the same program"
    monkeypatch.delenv("HPO_KERNELS")
    again, seconds = outputs()
    assert seconds == 0.0
    np.testing.assert_array_equal(again, compiled_once)


def test_large_arguments_saturate():
    """Gates far out neither overflow nor turn into NaN, and give no gradient."""
    weights = recurrence.GRUWeights(
        *(jnp.full(s, 1e4) for s in ((1, 15), (15,), (5, 15), (5,)))
    )
    x, state = jnp.ones((2, 3, 1)), jnp.ones((2, 5))
    for sign in (1, -1):
        signed = jax.tree.map(lambda w, s=sign: s * w, weights)
        outputs, pull = jax.vjp(lambda w: recurrence.gru(w, x, state)[0], signed)
        (gradient,) = pull(jnp.ones_like(outputs))
        assert all(np.isfinite(g).all() for g in (outputs, *gradient))
