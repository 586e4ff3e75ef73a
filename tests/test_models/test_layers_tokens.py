"""Tokens: layout, masks against a comparison of coordinates, views, messages, generators."""

from __future__ import annotations

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.errors import TokenError, UserError
from models.layers.attention import Attention
from models.layers.tokens import (
    MISSING,
    SliceInfo,
    TokenGenerator,
    Tokens,
    build_cross_attention_mask,
    build_padding_mask,
    build_self_attention_mask,
    decode_pytree,
    flatten_functional_inputs,
    flatten_pytree,
    generate_static_dataset,
    update_flat_array,
)

RULES = {
    "local": ["obs", "theta"],
    "cross": [("mu", "obs"), ("obs", "mu")],
    "cross_local": [("theta", "obs", (0, 0))],
}


def arrays(samples=(2,), sites=5, seen=3):
    random = np.random.default_rng(0)
    return {
        "mu": random.normal(size=(*samples, 1, 1)),
        "theta": random.normal(size=(*samples, sites, 1)),
        "obs": random.normal(size=(*samples, sites, seen, 1)),
    }


def tokens(**changes):
    data = changes.pop("data", None) or arrays()
    return Tokens.from_pytree(data, **{"independence": RULES, **changes})


def brute_force(shapes, rules):
    """The mask by comparing the coordinates of every pair of tokens, rule after rule."""
    places = [(k, c) for k, shape in shapes.items() for c in np.ndindex(*shape)]
    mask = np.ones((len(places), len(places)), int)
    for (i, (a, ca)), (j, (b, cb)) in itertools.product(enumerate(places), repeat=2):
        if (a, b) in rules["cross"]:
            mask[i, j] = 0
        if a == b and a in rules["local"]:
            mask[i, j] = 0
        for first, second, axes in rules["cross_local"]:
            if {a, b} != {first, second}:
                continue
            one, two = (ca, cb) if a == first else (cb, ca)
            if first == second:  # both directions lie in one block
                mask[i, j] = any(
                    x[axes[0]] == y[axes[1]] for x, y in ((ca, cb), (cb, ca))
                )
                continue
            if axes is None:
                flat = [
                    np.ravel_multi_index(c, shapes[k])
                    for k, c in ((first, one), (second, two))
                ]
                mask[i, j] = flat[0] == flat[1]
            else:
                mask[i, j] = one[axes[0]] == two[axes[1]]
    return mask


def slices_of(shapes):
    found, offset = {}, 0
    for key, shape in shapes.items():
        found[key] = SliceInfo(offset, shape, (1,))
        offset += int(np.prod(shape))
    return found


def test_the_fixture_of_twentyone_tokens():
    mask = np.asarray(tokens().self_attention_mask)
    assert mask.shape == (21, 21) and mask.sum() == 41
    assert (mask[6:].sum(axis=1) == 1).all() and (~np.diag(mask)).sum() == 20
    shapes = {"mu": (1,), "theta": (5,), "obs": (5, 3)}
    assert (mask == brute_force(shapes, RULES)).all()


LEVELS = {
    "two": (
        {"a": (3, 2), "b": (2, 3)},
        {"local": ["a"], "cross": [("b", "a")], "cross_local": [("a", "b", (0, 1))]},
    ),
    "two, token by token": (
        {"a": (3,), "b": (3, 1), "c": (2,)},
        {
            "local": ["b"],
            "cross": [("a", "b"), ("c", "a")],
            "cross_local": [("a", "b", None)],
        },
    ),
    "within one key": (
        {"a": (2, 3), "b": (3, 3)},
        {
            "local": [],
            "cross": [],
            "cross_local": [("a", "a", (0, 0)), ("b", "b", (0, 1))],
        },
    ),
    "three": (
        {"top": (1,), "region": (2,), "site": (2, 3), "obs": (2, 3, 2)},
        {
            "local": ["region", "site", "obs"],
            "cross": [("top", "site"), ("site", "top"), ("top", "obs"), ("obs", "top")]
            + [("region", "obs")],
            "cross_local": [("region", "site", (0, 0)), ("site", "obs", (1, 1))]
            + [("obs", "region", (0, 0))],
        },
    ),
}


@pytest.mark.parametrize("name", LEVELS)
def test_masks_compare_coordinates(name):
    shapes, rules = LEVELS[name]
    mask = build_self_attention_mask(slices_of(shapes), rules)
    assert (np.asarray(mask) == brute_force(shapes, rules)).all()


@pytest.mark.slow
def test_a_hundred_and_twenty_sites():
    shapes = {"mu": (1,), "theta": (120,), "obs": (120, 3)}
    mask = np.asarray(build_self_attention_mask(slices_of(shapes), RULES))
    assert (mask == brute_force(shapes, RULES)).all()


def test_order_of_the_rules():
    """`cross_local` has the last word, and `local` ends also what a token reads of itself."""
    slices = slices_of({"a": (2,), "b": (2,)})
    rules = {"local": ["a"], "cross": [("a", "b")], "cross_local": [("a", "b", None)]}
    found = np.asarray(build_self_attention_mask(slices, rules))
    wanted = [[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 1, 1], [0, 1, 1, 1]]
    assert (found == wanted).all()


def test_cross_attention_masks():
    made = tokens()
    assert not made.cross_attention_mask(["mu"], ["obs"]).any()
    assert made.cross_attention_mask(["mu"], ["theta"]).all()
    theta, obs = made.select_tokens(["theta"]), made.select_tokens(["obs"])
    linked = np.kron(np.eye(5), np.ones(3))
    assert (np.asarray(made.cross_attention_mask(theta, obs)) == linked).all()
    # As stated: theta asks obs. The other way round, and within a key, nothing is hidden.
    assert made.cross_attention_mask(["obs"], ["theta"]).all()
    assert made.cross_attention_mask(["theta"], ["theta"]).all()
    one, two = slices_of({"theta": (2,)}), slices_of({"mu": (1,), "theta": (2,)})
    found = build_cross_attention_mask(one, two, {"cross": [("theta", "mu")]})
    assert np.asarray(found).tolist() == [[False, True, True]] * 2


def test_padding_masks():
    slices = slices_of({"a": (2, 3), "b": (2,)})
    sizes = jnp.array([[1, 2], [2, 3]])
    found = np.asarray(build_padding_mask(slices, {"a": sizes}))
    assert found.astype(int).tolist() == [[1, 1, 0, 0, 0, 0, 1, 1], [1] * 8]
    inside = jax.jit(lambda s: build_padding_mask(slices, {"a": s}))(sizes)
    assert (np.asarray(inside) == found).all()
    with pytest.raises(TokenError, match="is padded to \\(2, 3\\)"):
        build_padding_mask(slices, {"a": np.array([[2, 4]])})


def test_lengths_are_those_of_the_samples():
    """Of every sample, or of all of them at once; none at all is no mask."""
    made = tokens(event_shapes={"theta": np.array([2])})
    assert made.padding_mask.shape == (2, 21)
    assert np.asarray(made.padding_mask)[:, 1:6].sum() == 4
    assert tokens(event_shapes={}).padding_mask is None
    view = made.select_tokens(["theta"])
    assert np.asarray(view.padding_mask).tolist() == [[True] * 2 + [False] * 3] * 2


REFUSED = {
    "up to \\(9,\\) tokens along its axes, but is padded to \\(5,\\)": lambda: tokens(
        event_shapes={"theta": jnp.array([[9], [2]])}
    ),
    "samples .*\\(3,\\).* but there are \\(2,\\)": lambda: tokens(
        event_shapes={"theta": np.array([[1], [2], [3]])}
    ),
    "has -1 tokens": lambda: tokens(event_shapes={"theta": np.array([[-1], [2]])}),
    "must be whole numbers, got float32": lambda: tokens(
        event_shapes={"theta": np.array([[1.5], [2.0]])}
    ),
    "'mu' is asked for 2 times": lambda: tokens().select_tokens(["mu", "mu"]),
    "'obs' is asked for 2 times": lambda: tokens().cross_attention_mask(
        ["obs", "obs"], ["mu"]
    ),
    "list of names, got the text 'mu'": lambda: tokens().select_tokens("mu"),
    "'thata' not found": lambda: tokens(batch_ndims={"thata": 2}),
    "mapping of keys to arrays, got ndarray": lambda: Tokens.from_pytree(
        np.ones((2, 3))
    ),
    "mapping of keys to arrays, got {}": lambda: Tokens.from_pytree({}),
    "must hold real numbers, got complex128": lambda: tokens(
        data={**arrays(), "mu": np.full((2, 1, 1), 1j)}
    ),
    "must hold real numbers, got <U1": lambda: tokens().with_values(mu=[[["a"]]] * 2),
    "samples \\(3,\\) but its tokens \\(2,\\)": lambda: tokens(
        functional_inputs={"obs": np.ones((3, 5, 3, 1))}
    ),
    "Functional input 'obs' has shape \\(\\)": lambda: tokens(
        functional_inputs={"obs": 1.0}
    ),
    "Rules of independence have another form": lambda: tokens(
        independence={"local": "obs"}
    ),
    "(?s)another form.*cross_local": lambda: tokens(
        independence={"cross_local": [("theta", "obs", (0,))]}
    ),
    "axes of tokens and values, got the shape \\(3,\\)": lambda: tokens().decode(
        np.zeros(3)
    ),
    "hold 3 values but those of the flat array 1": lambda: decode_pytree(
        jnp.zeros((1, 2, 1)), {"a": SliceInfo(0, (2,), (3,))}
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_makes_no_tokens(message):
    with pytest.raises(TokenError, match=message):
        REFUSED[message]()


def test_numbers_of_any_kind_become_real_ones():
    data = {"a": [[1, 2], [3, 4]], "b": np.array([[True], [False]])}
    found = Tokens.from_pytree(data).decode()
    assert found["a"].tolist() == [[1, 2], [3, 4]] and found["b"].tolist() == [[1], [0]]
    assert {array.dtype for array in found.values()} == {jnp.dtype("float32")}


def test_layout_and_back():
    random = np.random.default_rng(1)
    data = {
        "a": random.normal(size=(3, 4, 2, 2)).astype(np.float32),
        "b": random.normal(size=(3, 4, 3)).astype(np.float32),
    }
    flat, slices = flatten_pytree(data, sample_ndims=2, batch_ndims={"a": 2})
    assert flat.shape == (3, 4, 2, 4) and slices["a"] == SliceInfo(0, (), (2, 2))
    assert slices["b"].offset == 1 and (flat[..., 1, 3] == 0).all()
    np.testing.assert_array_equal(flat[..., 0, :], data["a"].reshape(3, 4, 4))
    for key, array in decode_pytree(flat, slices).items():
        np.testing.assert_array_equal(array, data[key])
    changed = update_flat_array(flat, slices, {"b": data["b"] + 1})
    again = decode_pytree(changed, slices)
    np.testing.assert_array_equal(again["b"], data["b"] + 1)
    np.testing.assert_array_equal(again["a"], data["a"])


def test_functional_inputs_and_what_has_none():
    f = np.arange(30, dtype=np.float32).reshape(2, 5, 3, 1)
    made = tokens(functional_inputs={"obs": f})
    found = np.asarray(made.functional_inputs)
    assert found.shape == (2, 21, 1) and (found[:, :6] == MISSING).all()
    np.testing.assert_array_equal(found[:, 6:, 0], f.reshape(2, 15))
    assert flatten_functional_inputs({}, made.slices, samples=(2,)) is None


def test_views_are_lazy_cached_and_begin_at_zero():
    made = tokens(functional_inputs={"obs": np.ones((2, 5, 3, 1))})
    view = made.select_tokens(["obs", "mu"])
    assert view.parent is made and set(vars(view)) == {"parent", "keys"}
    assert view.slices["obs"].offset == 0 and view.slices["mu"].offset == 15
    assert view.data is view.data and view.data.shape == (2, 16, 1)
    np.testing.assert_array_equal(view.labels, [2] * 15 + [0])
    np.testing.assert_array_equal(view.data[:, :15], made.data[:, 6:])
    assert (view.functional_inputs[:, 15] == MISSING).all()
    shapes = {"obs": (5, 3), "mu": (1,)}
    rules = {**RULES, "cross_local": []}
    assert (np.asarray(view.self_attention_mask) == brute_force(shapes, rules)).all()
    every = made.select_tokens(made.key_order)
    assert every.data is made.data and every.labels is made.labels
    for key, array in view.decode().items():
        np.testing.assert_array_equal(array, made.decode()[key])
    cut = made.decode_keys(view.data[None] * 2, ["obs", "mu"])
    np.testing.assert_array_equal(cut["obs"][0], 2 * made.decode()["obs"])


def test_other_values_keep_everything_else():
    made = tokens()
    other = made.with_values(theta=np.zeros((2, 5, 1)))
    assert other.self_attention_mask is made.self_attention_mask
    assert other.slices == made.slices and not other.decode()["theta"].any()
    np.testing.assert_array_equal(other.decode()["obs"], made.decode()["obs"])
    with pytest.raises(TokenError, match="have shape"):
        made.with_values(theta=np.zeros((2, 4, 1)))


def test_a_pytree_for_jit_vmap_and_donation():
    made = tokens(functional_inputs={"obs": np.ones((2, 5, 3, 1))})

    @jax.jit
    def doubled(t):
        return t.with_values(theta=2 * t.select_tokens(["theta"]).decode()["theta"])

    out = doubled(made)
    assert isinstance(out, Tokens) and out.key_order == made.key_order
    np.testing.assert_allclose(out.decode()["theta"], 2 * made.decode()["theta"])
    doubled(out)
    assert doubled._cache_size() == 1  # structure is static, so nothing is traced anew
    axes = (made.sample_axes(),)
    sums = jax.vmap(lambda t: jnp.sum(t.decode()["obs"]), in_axes=axes)(made)
    np.testing.assert_allclose(sums, made.decode()["obs"].sum((1, 2, 3)), rtol=1e-5)
    given = jax.tree.map(jnp.array, out)
    moved = jax.jit(lambda t: t.replaced(data=t.data + 1), donate_argnums=0)(given)
    assert given.data.is_deleted() and moved.data.shape == made.data.shape
    view = jax.jit(lambda v: v.data)(made.select_tokens(["mu"]))
    np.testing.assert_array_equal(view, made.data[:, :1])


def test_a_token_that_reads_nothing_makes_no_nan():
    layer = Attention(size=4, heads=2)
    layer.weight[...] = jax.random.normal(jax.random.key(0), (4, 12))
    mask = build_self_attention_mask(slices_of({"a": (3,)}), {"local": ["a"]})
    x = jax.random.normal(jax.random.key(1), (2, 3, 4))
    value, slope = jax.value_and_grad(lambda x: jnp.sum(layer(x, mask=mask)))(x)
    assert np.isfinite(value) and (slope == 0).all()


CASES = {
    "Cannot apply cross_local independence: dimension 0 of 'theta' has size 10 but "
    "dimension 0 of 'obs' has size 5": lambda: build_self_attention_mask(
        slices_of({"theta": (10,), "obs": (5, 3)}), RULES
    ),
    "Functional input 'obs' has shape (10,) but expected to match token shape (10, 5)": (
        lambda: flatten_functional_inputs(
            {"obs": np.zeros((2, 10, 1))}, slices_of({"obs": (10, 5)}), samples=(2,)
        )
    ),
    "Key 'sigma' not found. Available keys: ['mu', 'theta', 'obs']": (
        lambda: tokens().select_tokens(["sigma"])
    ),
    "Slice metadata specifies 100 tokens but flat array has 95 tokens": (
        lambda: decode_pytree(jnp.zeros((1, 95, 1)), slices_of({"a": (100,)}))
    ),
}


@pytest.mark.parametrize("message", CASES)
def test_messages(message):
    with pytest.raises(TokenError) as caught:
        CASES[message]()
    assert caught.value.message == message and caught.value.hint
    assert isinstance(caught.value, UserError) and isinstance(caught.value, ValueError)


def test_lengths_that_are_not_known_are_refused():
    (length,) = jax.export.symbolic_shape("n")
    shape = jax.ShapeDtypeStruct((2, length, 1), jnp.float32)

    def flat(array):
        return Tokens.from_pytree({"obs": array}).data

    with pytest.raises(TokenError) as caught:
        jax.eval_shape(flat, shape)
    assert caught.value.message == (
        "Dynamic shape detected in JIT context. Ensure all shapes are statically known."
    )


def test_much_padding_is_warned_of():
    data = {"a": np.zeros((1, 2, 7)), "b": np.zeros((1, 2, 2))}
    with pytest.warns(UserWarning, match="Batch size padding ratio is 3.5x, consider"):
        Tokens.from_pytree(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Tokens.from_pytree({**data, "b": np.zeros((1, 2, 4))})


def settings(**changes):
    return {
        "prior_fn": lambda key, n: {"theta": jax.random.normal(key, (n, 3, 1))},
        "simulator_fn": lambda key, p, f: {
            "obs": p["theta"] + f["obs"] * jax.random.normal(key, p["theta"].shape)
        },
        "functional_input_fn": lambda key, n: {
            "obs": jax.random.uniform(key, (n, 3, 1))
        },
        "independence": {"local": ["obs"]},
        "n_samples": 10,
        "batch_size": 4,
        **changes,
    }


def test_a_generator_repeats_and_equals_the_static_dataset():
    made = TokenGenerator(**settings(), seed=7)
    first, second = list(made), list(made)
    assert len(made) == len(first) == 3 and [len(t.data) for t in first] == [4, 4, 2]
    whole = generate_static_dataset(jax.random.key(7), **settings())
    for found in (first, second):
        for name in ("data", "functional_inputs"):
            joined = np.concatenate([getattr(t, name) for t in found])
            np.testing.assert_array_equal(joined, getattr(whole, name))
    other = generate_static_dataset(jax.random.key(8), **settings())
    assert not np.array_equal(other.data, whole.data)


@pytest.mark.parametrize(
    "simulate,what",
    [
        (lambda key, p, f: {"obs": p["theta"] / 0 * 0}, "gave nan for 'obs' at"),
        (
            lambda key, p, f: {"obs": p["theta"][1:]},
            "of shape \\(3, 3, 1\\) for 4 samples",
        ),
        (
            lambda key, p, f: {"obs": p["theta"][:, : len(p["theta"]) - 1]},
            "must have one shape",
        ),
        (lambda key, p, f: p["theta"], "simulator gave ArrayImpl, not arrays by key"),
        (lambda key, p, f: None, "simulator gave NoneType, not arrays by key"),
        (lambda key, p, f: dict(p), "both gave \\['theta'\\]"),
        (lambda key, p, f: {"obs": np.array(["?"] * 4)}, "must hold real numbers"),
    ],
)
def test_simulations_that_are_not_sound(simulate, what):
    with pytest.raises(TokenError, match=what):
        list(
            TokenGenerator(**settings(simulator_fn=simulate, functional_input_fn=None))
        )


def test_inputs_that_are_not_sound():
    """They are told of as simulations are, before anything is learned of them."""
    widths = iter(range(1, 4))
    for inputs, what in (
        (
            lambda key, n: {"obs": jnp.full((n, 3, 1), jnp.nan)},
            "inputs gave nan for 'obs'",
        ),
        (lambda key, n: {"obs": jnp.ones((n, 3, next(widths)))}, "must have one shape"),
    ):
        made = TokenGenerator(
            **settings(
                functional_input_fn=inputs,
                simulator_fn=lambda key, p, f: {"obs": p["theta"]},
            )
        )
        with pytest.raises(TokenError, match=what):
            made.all_at(jax.random.key(0))
    with pytest.raises(TokenError, match="got 10.5 and 4"):
        TokenGenerator(**settings(n_samples=10.5))
