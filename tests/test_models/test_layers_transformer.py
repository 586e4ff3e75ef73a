"""Attention and the block of a transformer: against torch, and what a mask may hide."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.errors import ConfigError
from models.layers.attention import Attention, attend
from models.layers.initialization import initialize
from models.layers.transformer import TransformerBlock

SIZE, HEADS, HIDDEN = 8, 2, 12


@pytest.fixture
def block():
    with jax.enable_x64(True):
        found = TransformerBlock(
            size=SIZE, heads=HEADS, hidden_size=HIDDEN, dropout_name="model.dropout"
        )
        initialize(found, jax.random.key(0))
        for norm in (found.norm, found.last_norm):  # not as they begin
            norm.scale.set_value(jnp.linspace(0.5, 1.5, SIZE))
            norm.shift.set_value(jnp.linspace(-1, 1, SIZE))
        yield found


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.oracles
@pytest.mark.parametrize("masked", [False, True])
def test_the_block_equals_torch(block, masked):
    torch = pytest.importorskip("torch")
    peer = torch.nn.TransformerEncoderLayer(
        SIZE, HEADS, HIDDEN, 0.0, activation="gelu", batch_first=True
    ).double()
    attention = block.attention
    with torch.no_grad():
        for theirs, ours in (
            (peer.self_attn.in_proj_weight, attention.weight[...].T),
            (peer.self_attn.in_proj_bias, attention.bias[...]),
            (peer.self_attn.out_proj.weight, attention.out.weight[...].T),
            (peer.self_attn.out_proj.bias, attention.out.bias[...]),
            (peer.linear1.weight, block.widen.weight[...].T),
            (peer.linear1.bias, block.widen.bias[...]),
            (peer.linear2.weight, block.narrow.weight[...].T),
            (peer.linear2.bias, block.narrow.bias[...]),
            (peer.norm1.weight, block.norm.scale[...]),
            (peer.norm1.bias, block.norm.shift[...]),
            (peer.norm2.weight, block.last_norm.scale[...]),
            (peer.norm2.bias, block.last_norm.shift[...]),
        ):
            theirs.copy_(torch.from_numpy(np.array(ours)))
        tokens = drawn(3, 5, SIZE)
        mask = np.tril(np.ones((5, 5), bool)) if masked else None
        wanted = peer(
            torch.from_numpy(tokens),
            src_mask=None if mask is None else torch.from_numpy(~mask),
        ).numpy()
    got = block(jnp.asarray(tokens), mask=None if mask is None else jnp.asarray(mask))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=3e-8)


def test_reading_from_others_is_a_block_of_attention_over_all(block):
    """What the first two tokens read of the other three, by a mask and by itself."""
    tokens = jnp.asarray(drawn(2, 5, SIZE))
    mask = jnp.zeros((5, 5), bool).at[:2, 2:].set(True)
    whole = block.attention(tokens, mask=mask)[:, :2]
    alone = block.attention(tokens[:, :2], tokens[:, 2:])
    np.testing.assert_allclose(alone, whole, rtol=0, atol=1e-14)


def test_a_token_that_sees_nothing_reads_zeros_and_gradients_are_finite():
    q, k, v = (
        jnp.asarray(drawn(2, 3, HEADS, 4, seed=s), jnp.float32) for s in (1, 2, 3)
    )
    mask = jnp.asarray([[True, False, True], [False] * 3, [True] * 3])[None]
    k = k.at[:, 1].multiply(1e30)  # hidden from the first query only

    def total(q, k, v):
        return jnp.sum(jnp.square(attend(q, k, v, mask)[:, :2]))

    assert not np.asarray(attend(q, k, v, mask)[:, 1]).any()
    gradients = jax.grad(total, argnums=(0, 1, 2))(q, k, v)
    assert all(np.isfinite(g).all() for g in gradients)
    assert not np.asarray(gradients[1][:, 1]).any()  # nobody asked it
    assert np.asarray(gradients[2][:, 2]).any()


def test_what_a_mask_hides_changes_no_bit(block):
    tokens = jnp.asarray(drawn(1, 4, SIZE))
    mask = jnp.ones((4, 4), bool).at[:3, 3].set(False)
    other = tokens.at[:, 3].add(7.0)
    one, two = (block(t, mask=mask)[:, :3] for t in (tokens, other))
    np.testing.assert_array_equal(one, two)
    assert np.abs(np.asarray(block(tokens)[:, :3] - block(other)[:, :3])).max() > 1e-3


def test_dropout_acts_in_three_places_each_by_a_key_of_its_own(block):
    tokens, key = jnp.asarray(drawn(2, 5, SIZE)), jax.random.key(1)
    np.testing.assert_array_equal(block(tokens, key=key), block(tokens))  # rate 0
    block.rate.set_value(jnp.asarray(0.5))

    def dropped(values, key):
        kept = jax.random.uniform(key, values.shape, jnp.float64) >= 0.5
        return np.where(kept, np.asarray(values) * 2, 0)

    keys = jax.random.split(key, 3)
    first = block.norm(tokens + dropped(block.attention(tokens), keys[0]))
    wide = jax.nn.gelu(block.widen(first), approximate=False)
    narrow = block.narrow(jnp.asarray(dropped(wide, keys[1])))
    wanted = block.last_norm(first + dropped(narrow, keys[2]))
    np.testing.assert_allclose(block(tokens, key=key), wanted, rtol=0, atol=1e-12)


def test_heads_must_divide_the_size():
    with pytest.raises(ConfigError, match="multiple of `heads`, got 8 and 3") as caught:
        Attention(size=8, heads=3)
    assert "2 or 4" in caught.value.hint and "9" in caught.value.hint
