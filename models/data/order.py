"""Which window comes when: seeded orders as pure functions of a key."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, UInt

SORTED_BELOW = 4096
"""Up to here a permutation is drawn by sorting; above, computed element by element."""
_ROUNDS = 5


def shuffled(key: Key[Array, ""], windows: int, count: int) -> Int[Array, " count"]:
    """Draw windows without replacement within each pass over all of them.

    Args:
        key: Randomness of this epoch.
        windows: How many windows there are.
        count: How many to draw: fewer than `windows` are the first ones of a permutation,
            more are several permutations, the last of which may be cut.
    """
    passes = -(-count // windows)
    length = min(windows, count)
    keys = jax.random.split(key, passes)
    drawn = jax.vmap(lambda k: permutation(k, windows, length))(keys)
    return drawn.reshape(-1)[:count]


def permutation(key: Key[Array, ""], size: int, length: int) -> Int[Array, " length"]:
    """The first `length` entries of a random permutation of ``0 … size - 1``.

    Above `SORTED_BELOW` the entries come from a keyed bijection on the next power of two,
    walked until it lands below `size`: time and memory then follow `length`, not `size`
    (9,600 of 80,000 windows: 0.4 ms, by sorting 35 ms, on one CPU core).

    Source: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002, sections 4
    and 5 (cycle walking, Feistel network); Hoang and Rogaway, "On Generalized Feistel
    Networks", 2010 (halves of unequal size, changed in turn).
    """
    if size <= SORTED_BELOW:
        return jax.random.permutation(key, size)[:length].astype(jnp.int32)
    bits = (size - 1).bit_length()
    keys = jax.random.bits(key, (_ROUNDS, 2), jnp.uint32)
    limit = jnp.uint32(size)

    def walk(values: UInt[Array, " length"]) -> UInt[Array, " length"]:
        return jnp.where(values >= limit, _bijection(values, keys, bits), values)

    first = _bijection(jnp.arange(length, dtype=jnp.uint32), keys, bits)
    found = jax.lax.while_loop(lambda v: jnp.any(v >= limit), walk, first)
    return found.astype(jnp.int32)


def _bijection(
    values: UInt[Array, " n"], keys: UInt[Array, "rounds 2"], bits: int
) -> UInt[Array, " n"]:
    """A one-to-one map of ``0 … 2**bits - 1`` onto itself that depends on `keys`."""
    low_bits = bits // 2
    low_mask = jnp.uint32((1 << low_bits) - 1)
    high_mask = jnp.uint32((1 << (bits - low_bits)) - 1)
    shift = jnp.uint32(low_bits)

    def one_round(
        halves: tuple[Array, Array], key: UInt[Array, " 2"]
    ) -> tuple[tuple[Array, Array], None]:
        high, low = halves
        high = high ^ (_mixed(low ^ key[0]) & high_mask)
        low = low ^ (_mixed(high ^ key[1]) & low_mask)
        return (high, low), None

    halves = (values >> shift, values & low_mask)
    (high, low), _ = jax.lax.scan(one_round, halves, keys, unroll=True)
    return (high << shift) | low


def _mixed(values: UInt[Array, " n"]) -> UInt[Array, " n"]:
    """Spread every bit over the word (the finalizer of MurmurHash3)."""
    values = (values ^ (values >> jnp.uint32(16))) * jnp.uint32(0x85EBCA6B)
    values = (values ^ (values >> jnp.uint32(13))) * jnp.uint32(0xC2B2AE35)
    return values ^ (values >> jnp.uint32(16))
