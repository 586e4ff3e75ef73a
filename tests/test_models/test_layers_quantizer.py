"""Quantizers against sums over all latents, scipy and written-out matrices."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.cluster.vq
from flax import nnx

from models.errors import ConfigError
from models.layers.codebooks import AveragedCodebook
from models.layers.finite_scalar import levels_of, scalar_codes, scalar_quantized
from models.layers.k_means import drawn, k_means
from models.layers.quantizer import Quantization, Quantizer, perplexities
from models.layers.through import rotated, straight_through
from models.layers.traced import Traced

TRACED = ("decay", "revive_below")


def quantizer(groups=1, seed=0, **settings):
    """A quantizer that knows its traced values, as the engine would tell it."""
    config = Quantization(**settings)
    made = Quantizer(config=config, groups=groups, key=jax.random.key(seed))
    for _, variable in nnx.iter_graph(made):
        if isinstance(variable, Traced):
            name = variable.get_metadata()["name"].removeprefix("quantizer.")
            variable.set_value(jnp.asarray(getattr(config, name)))
    return made


def latents(count=40, groups=1, size=3, seed=1, scale=1.0):
    numbers = np.random.default_rng(seed).normal(size=(count, groups, size))
    return jnp.asarray(scale * numbers, jnp.float32)


# One program for all tests whose shapes are the same: what is traced compiles nothing.
begin = nnx.jit(lambda made, points, key: made.begin(points, key))
follow = nnx.jit(lambda made, points, key: made(points, key=key))
look = nnx.jit(lambda made, points: made(points))


def following(points, codes, **settings):
    """Two codes of two numbers after one batch of eight points, repeated as needed."""
    made = quantizer(bits=1, code_size=2, start="uniform", **settings)
    made.books[0].begin(jnp.array([codes]))
    rows = np.resize(np.array(points, np.float32), (8, 1, 2))
    follow(made, jnp.asarray(rows), jax.random.key(0))
    return made.books[0], made


def squares(made, points):
    """Squared distances ``[N, G, K]`` from the codes of the first stage, in float64."""
    codes = np.asarray(made.books[0].vectors(), float)
    return np.square(np.asarray(points, float)[:, :, None] - codes[None]).sum(axis=-1)


# -- codes that follow averages ---------------------------------------------------------------


def test_fifty_batches_give_the_weighted_mean_of_all_latents_so_far():
    """``e = Σ γ^age z / Σ γ^age`` over every latent that ever chose the code."""
    decay, batches = 0.8, 50
    made = quantizer(groups=2, bits=3, code_size=3, start="uniform", decay=decay,
                     revive_below=0.0)  # fmt: skip
    start = np.asarray(made.books[0].vectors(), float)
    seen = [[[] for _ in range(8)] for _ in range(2)]
    for batch in range(batches):
        points = latents(groups=2, seed=batch, scale=0.5 + batch / 50)
        wanted = squares(made, points).argmin(axis=-1)
        found = follow(made, points, jax.random.key(batch))
        np.testing.assert_array_equal(found.tokens[..., 0], wanted)
        for row, group in np.ndindex(*wanted.shape):
            point = np.asarray(points[row, group], float)
            seen[group][wanted[row, group]].append((batch, point))
    codes = np.asarray(made.books[0].vectors())
    for group, code in np.ndindex(2, 8):
        mean = start[group, code]
        if seen[group][code]:
            ages, points = zip(*seen[group][code], strict=True)
            weights = decay ** (batches - 1.0 - np.array(ages))
            mean = weights @ np.array(points) / weights.sum()
        np.testing.assert_allclose(codes[group, code], mean, rtol=2e-4, atol=2e-5)


def test_the_first_batch_already_counts_in_full():
    """Averages that begin at zero and are not corrected would call every code dead."""
    points = [[1.5, 1.0], [0.5, 3.0], [-2.0, 0.0], [-2.0, 0.0]]
    book, _ = following(points, [[1.0, 0], [-1.0, 0]], decay=0.99, revive_below=0.8)
    np.testing.assert_allclose(book.vectors()[0], [[1, 2], [-2, 0]], rtol=1e-6)
    np.testing.assert_allclose(book.counts.value()[0], [4.0, 4.0], rtol=1e-6)


def test_a_code_that_nothing_chose_stays_where_it_was():
    """Not at the origin, nor far away: its count and its sum are both those of nothing."""
    book, made = following([[0.5, 1.0]], [[1.0, 0], [70.0, -8.0]], revive_below=0.0)
    for batch in range(30):
        follow(made, latents(count=8, size=2, seed=batch), jax.random.key(batch))
    np.testing.assert_array_equal(book.vectors()[0, 1], [70.0, -8.0])


def test_a_revived_code_has_a_sum_that_belongs_to_its_count():
    """With a sum that is not multiplied by the count, its next mean shrinks to the origin."""
    codes = [[3.0, 4.0], [90.0, 90.0]]
    book, _ = following([[3.0, 4.0]], codes, decay=0.5, revive_below=0.6)
    np.testing.assert_allclose(book.vectors()[0, 1], [3.0, 4.0], rtol=1e-6)
    np.testing.assert_allclose(book.counts.value()[0], [8.0, 0.6 * 8 / 2], rtol=1e-6)
    sums = np.asarray(book.sums.value()[0])
    np.testing.assert_allclose(sums, [[24.0, 32.0], [7.2, 9.6]], rtol=1e-6)
    points, tokens = (
        jnp.tile(jnp.array([[[3.0, 4.0]]]), (8, 1, 1)),
        jnp.ones((8, 1), int),
    )
    follow_tokens(book, points, tokens, jax.random.key(1))
    np.testing.assert_allclose(book.vectors()[0], [[3.0, 4.0]] * 2, rtol=1e-6)


follow_tokens = nnx.jit(lambda book, *arguments: book.follow(*arguments))


def test_a_code_that_is_used_enough_is_not_revived():
    """Death is a count below a threshold, not a place among the least used."""
    points = [[-3.0, 0]] * 3 + [[1.0, 0]] * 5
    book, _ = following(points, [[-3.0, 0], [1.0, 0]], revive_below=0.7)
    np.testing.assert_allclose(book.vectors()[0], [[-3.0, 0], [1.0, 0]])


def test_dead_codes_begin_anew_at_different_points_of_the_batch():
    book = AveragedCodebook(jnp.full((1, 4, 1), 50.0), name="quantizer")
    book.decay.set_value(jnp.asarray(0.9))
    book.revive_below.set_value(jnp.asarray(0.5))
    points = jnp.arange(4.0).reshape(4, 1, 1)
    follow_tokens(book, points, jnp.zeros((4, 1), jnp.int32), jax.random.key(0))
    fresh = np.asarray(book.vectors()[0, 1:, 0])
    assert len(set(fresh)) == 3
    assert set(fresh) <= {0.0, 1.0, 2.0, 3.0}


@pytest.mark.parametrize("kind", ["ema", "learned", "simvq", "fsq"])
def test_without_a_key_nothing_moves(kind):
    made = quantizer(kind=kind, bits=3)
    before = jax.tree.map(np.asarray, nnx.state(made))
    look(made, latents(size=made.config.size))
    after = nnx.state(made)
    assert jax.tree.all(jax.tree.map(np.array_equal, before, after))


# -- losses and gradients ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["learned", "simvq"])
def test_commitment_moves_latents_and_only_the_other_term_moves_codes(kind):
    """Roles that are swapped would let the weight of commitment tune the codebook."""
    made = quantizer(kind=kind, bits=2, code_size=3)
    graph, params, rest = nnx.split(made, nnx.Param, ...)
    points = latents()

    def term(name):
        def value(params, points):
            found = nnx.merge(graph, params, rest, copy=True)(points)
            return jnp.mean(found.losses[name])

        codes, moved = jax.jit(jax.grad(value, argnums=(0, 1)))(params, points)
        return max(np.abs(a).max() for a in jax.tree.leaves(codes)), moved

    by_commitment, moved = term("commitment")
    choice = squares(made, points).argmin(axis=-1)[..., 0]
    codes = np.asarray(made.books[0].vectors())[0, choice]
    wanted = 2 * (np.asarray(points)[:, 0] - codes) / points.size
    np.testing.assert_allclose(moved[:, 0], wanted, rtol=1e-4, atol=1e-7)
    assert by_commitment == 0
    by_codebook, moved = term("codebook")
    assert by_codebook > 0
    assert np.abs(moved).max() == 0


def test_only_terms_that_act_are_in_the_loss():
    weights = {
        kind: {n: t.weight for n, t in Quantization(kind=kind).terms("code").items()}
        for kind in ("ema", "learned", "simvq", "fsq")
    }
    both = {"commitment": "code.commitment", "codebook": 1.0}
    assert weights == {
        "ema": {"commitment": "code.commitment"},
        "learned": both,
        "simvq": both,
        "fsq": {},
    }


@jax.jit
def turned(e, q, back):
    """Codes in place of latents, and the gradient that the latents are given for theirs."""
    out, pull = jax.vjp(lambda e: rotated(e, q), e)
    return out, pull(back)[0]


def test_rotation_passes_gradients_through_the_written_out_matrix():
    random = np.random.default_rng(0)
    e, q, wanted = random.normal(size=(3, 20, 5)).astype(np.float32)
    out, got = turned(e, q, wanted)
    np.testing.assert_array_equal(out, q)
    for row in range(20):
        a, b = (v[row].astype(float) for v in (e, q))
        long, reach = np.linalg.norm(a), np.linalg.norm(b)
        a, b = a / long, b / reach
        r = (a + b) / np.linalg.norm(a + b)
        turn = np.eye(5) - 2 * np.outer(r, r) + 2 * np.outer(b, a)
        np.testing.assert_allclose(turn @ a, b, atol=1e-12)  # it is that rotation
        np.testing.assert_allclose(
            got[row], reach / long * turn.T @ wanted[row], rtol=1e-4, atol=1e-5
        )


def test_rotation_is_finite_where_nothing_can_be_turned():
    e = jnp.array([[0.0, 0.0], [1.0, 2.0], [1.0, 0.0]])
    q = jnp.array([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])
    out, got = turned(e, q, jnp.ones((3, 2)))
    np.testing.assert_array_equal(out, q)
    assert np.isfinite(got).all()


def test_straight_through_is_the_identity_backwards():
    e, q = latents(seed=1), latents(seed=2)
    out, back = jax.vjp(lambda e: straight_through(e, q), e)
    np.testing.assert_allclose(out, q, atol=1e-6)
    np.testing.assert_array_equal(back(q)[0], q)


# -- several stages, several kinds of codes ---------------------------------------------------


def test_stages_quantize_what_is_left_and_count_once_backwards():
    made = quantizer(kind="learned", bits=2, code_size=3, stages=3)
    points = latents()
    rest, total = np.asarray(points, float)[:, 0], 0.0
    graph, state = nnx.split(made)

    @jax.jit
    def run(points):
        def codes(points):
            found = nnx.merge(graph, state)(points)
            return found.codes, found.tokens

        found, back, tokens = jax.vjp(codes, points, has_aux=True)
        return found, back(points)[0], tokens

    found, gradient, tokens = run(points)
    tokens = np.asarray(tokens)
    assert tokens.shape == (40, 1, 3)
    for stage, book in enumerate(made.books):
        codes = np.asarray(book.vectors(), float)[0]
        choice = np.square(rest[:, None] - codes[None]).sum(axis=-1).argmin(axis=-1)
        np.testing.assert_array_equal(tokens[:, 0, stage], choice)
        rest, total = rest - codes[choice], total + codes[choice]
    np.testing.assert_allclose(found[:, 0], total, atol=1e-5)
    np.testing.assert_allclose(made.decode(tokens)[:, 0], total, atol=1e-5)
    np.testing.assert_allclose(gradient, points, rtol=1e-6)


def test_cosine_sees_directions_only():
    made = quantizer(distance="cosine", bits=3, code_size=3)
    begin(made, latents(), jax.random.key(0))
    found, longer = look(made, latents()), look(made, 7.0 * latents())
    np.testing.assert_array_equal(found.tokens, longer.tokens)
    np.testing.assert_allclose(np.linalg.norm(found.codes, axis=-1), 1.0, rtol=1e-5)
    unit = np.asarray(latents())[:, 0]
    unit = unit / np.linalg.norm(unit, axis=-1, keepdims=True)
    codes = np.asarray(made.books[0].vectors())[0]
    codes = codes / np.linalg.norm(codes, axis=-1, keepdims=True)
    np.testing.assert_array_equal(found.tokens[:, 0, 0], (unit @ codes.T).argmax(-1))


def test_a_linear_map_moves_codes_that_nothing_chose():
    made = quantizer(kind="simvq", bits=3, code_size=2)
    fixed = np.asarray(made.books[0].fixed[...])
    np.testing.assert_array_equal(made.books[0].vectors(), fixed)
    made.books[0].map.set_value(jnp.array([[[0.0, 2.0], [-1.0, 0.0]]]))
    codes = made.books[0].vectors()
    np.testing.assert_allclose(codes[0], fixed[0] @ [[0.0, 2.0], [-1.0, 0.0]])


on_grid = jax.jit(scalar_quantized, static_argnums=1)


# -- a fixed grid -----------------------------------------------------------------------------


@pytest.mark.parametrize("bits", (1, 2, 5, 7, 8, 10))
def test_every_point_of_the_grid_is_a_code_and_has_its_own_token(bits):
    levels = levels_of(bits)
    grid = [np.arange(count) / (count // 2) - 1 for count in levels]
    points = np.array(list(itertools.product(*grid)), np.float32)
    tokens = jnp.arange(math.prod(levels))
    codes = np.asarray(jax.jit(scalar_codes, static_argnums=1)(tokens, levels))
    assert {tuple(c) for c in codes} == {tuple(p) for p in points}
    # The middle of every cell, through the inverse of the squashing.
    counts = np.array(levels)
    half, offset = (counts - 1) * 1.001 / 2, np.where(counts % 2, 0.0, 0.5)
    inside = (codes * (counts // 2) + offset) / half
    z = np.arctanh(inside) - np.arctanh(offset / half)
    found, again = on_grid(jnp.asarray(z, jnp.float32), levels)
    np.testing.assert_allclose(found, codes, atol=1e-6)
    np.testing.assert_array_equal(again, tokens)


def test_a_grid_has_hardly_fewer_codes_than_its_bits_tell_apart():
    for bits in range(1, 13):
        assert 0.9 * 2**bits < math.prod(levels_of(bits)) <= 2**bits


def test_a_grid_rounds_as_the_paper_prints_it():
    """Levels 3, 5, 4 and the latent of the published notebook."""
    codes, tokens = on_grid(jnp.array([[0.25, 0.6, -7.0]]), (3, 5, 4))
    np.testing.assert_allclose(codes, [[0.0, 0.5, -1.0]], atol=1e-6)
    np.testing.assert_array_equal(tokens, [10])


def test_a_grid_has_the_gradient_of_its_squashing():
    z = jnp.array([[0.3, -1.2, 0.8]])
    got = jax.jit(jax.grad(lambda z: scalar_quantized(z, (3, 5, 4))[0].sum()))(z)
    counts = np.array([3, 5, 4])
    half, offset = (counts - 1) * 1.001 / 2, np.array([0.0, 0.0, 0.5])
    slope = half / np.cosh(np.asarray(z, float) + np.arctanh(offset / half)) ** 2
    np.testing.assert_allclose(got, slope / (counts // 2), rtol=1e-5)


# -- where codes begin ------------------------------------------------------------------------


def test_k_means_equals_scipys():
    points = np.random.default_rng(0).normal(size=(60, 2, 3)).astype(np.float32)
    start = points[:5].swapaxes(0, 1)
    found = np.asarray(k_means(jnp.asarray(points), jnp.asarray(start), rounds=7))
    for group in range(2):
        wanted, _ = scipy.cluster.vq.kmeans2(
            points[:, group].astype(float), start[group].astype(float), iter=7,
            minit="matrix",
        )  # fmt: skip
        np.testing.assert_allclose(found[group], wanted, rtol=1e-4, atol=1e-5)


def test_k_means_keeps_a_code_that_nothing_is_near():
    points = jnp.array([0.0, 1.0, 2.0]).reshape(3, 1, 1)
    found = k_means(points, jnp.array([[[1.5], [900.0]]]), rounds=3)
    np.testing.assert_allclose(found[0, :, 0], [1.0, 900.0])


def test_codes_from_data_are_different_latents_for_every_stage():
    made = quantizer(start="data", bits=3, code_size=3, stages=2, groups=2)
    points = latents(groups=2)
    begin(made, points, jax.random.key(3))
    rest = np.asarray(points)
    for stage, book in enumerate(made.books):
        codes = np.asarray(book.vectors())
        for group in range(2):
            found = {tuple(np.round(c, 4)) for c in codes[group]}
            assert stage or len(found) == 8  # nothing is left of latents that are codes
            assert found <= {tuple(np.round(r, 4)) for r in rest[:, group]}
        apart = np.square(rest[:, :, None] - codes[None]).sum(axis=-1).argmin(axis=-1)
        rest = rest - np.stack([codes[g, apart[:, g]] for g in range(2)], axis=1)


def test_means_lie_nearer_than_draws():
    points = latents(count=200, size=2)
    errors = {}
    for start in ("data", "k_means"):
        made = quantizer(start=start, bits=4, code_size=2)
        begin(made, points, jax.random.key(0))
        errors[start] = float(look(made, points).commitment.mean())
    assert errors["k_means"] < 0.8 * errors["data"]


def test_few_points_are_drawn_more_than_once():
    codes = drawn(jax.random.key(0), jnp.arange(2.0).reshape(2, 1, 1), 5)
    assert codes.shape == (1, 5, 1)
    assert set(np.asarray(codes).ravel()) <= {0.0, 1.0}


# -- how often each is used -------------------------------------------------------------------


def test_shares_and_perplexity_of_what_was_chosen_in_training():
    made = quantizer(kind="fsq", bits=2)
    first = jnp.array([-9.0, -9.0, 9.0, 9.0]).reshape(4, 1, 1)
    follow(made, first, jax.random.key(0))
    np.testing.assert_allclose(made.shares()[0, 0], [0.5, 0, 0, 0.5])
    follow(made, jnp.full((4, 1, 1), -9.0), jax.random.key(0))
    older = 0.99 * np.array([2.0, 0, 0, 2.0]) + np.array([4.0, 0, 0, 0])
    shares = older / older.sum()
    np.testing.assert_allclose(made.shares()[0, 0], shares, rtol=1e-5)
    used = shares[shares > 0]
    wanted = np.exp(-(used * np.log(used)).sum())
    np.testing.assert_allclose(perplexities(made.shares()), [[wanted]], rtol=1e-5)
    np.testing.assert_allclose(
        made.usual(), [[shares @ np.array([-1.0, -0.5, 0.0, 0.5])]], rtol=1e-4
    )


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings,words",
    [
        ({"kind": "learned", "decay": 0.9}, "`decay` acts with codes of kind ema"),
        ({"kind": "simvq", "revive_below": 0.1}, "`revive_below` acts"),
        ({"kind": "fsq", "commitment": 1.0}, "`commitment` acts"),
        ({"kind": "fsq", "code_size": 3}, "`code_size` acts"),
        ({"kind": "fsq", "stages": 2}, "`stages` acts"),
        ({"kind": "fsq", "gradient": "rotation"}, "`gradient` acts"),
        ({"distance": "cosine", "stages": 2}, "`stages` 2"),
        ({"gradient": "rotation", "code_size": 1}, "`code_size` 1"),
    ],
)
def test_what_acts_on_nothing_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        Quantization(**settings)


def test_a_first_batch_smaller_than_a_codebook_is_refused():
    with pytest.raises(ConfigError, match="of which there are 63"):
        Quantization(bits=6).check_start(63)
    Quantization(bits=6).check_start(64)
    Quantization(bits=6, start="uniform").check_start(1)
    Quantization(kind="fsq", bits=8).check_start(1)


def test_bits_carried():
    assert Quantization(bits=6, stages=2).carried == 12
    assert Quantization(kind="fsq", bits=8).carried == pytest.approx(math.log2(240))
