"""Every random choice as a stable hash of what it is for; never a running generator."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from itertools import count as counted


def derive(seed: int, *purpose: str | int) -> int:
    """A 32-bit seed that depends on the study's seed and the purpose, and on nothing else.

    Args:
        seed: The study's seed.
        purpose: What it is for, such as ``("rnn", "trial", 7)``.

    Returns:
        An integer in [0, 2³² - 1), equal on every machine and in every process.
    """
    text = "\x1f".join(f"{type(p).__name__}:{p}" for p in (seed, *purpose))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (2**32 - 1)


# What trials are trained again for, in the order in which later ones avoid earlier ones' seeds.
PURPOSES = ("rerun", "choose", "confirm")
RESERVED = 1_000
"""Seeds of each purpose that no later one has."""


def fresh(
    seed: int,
    family: str,
    purpose: str,
    *,
    count: int,
    start: int = 0,
    taken: Collection[int],
) -> list[int]:
    """Seeds to train a family's configurations again with; the same ones each time.

    A seed that is lucky on the validation part is lucky on the test part, too: so the seeds
    of the search, and those of the other `PURPOSES`, are left out.

    Args:
        seed: The study's seed.
        family: The family.
        purpose: One of `PURPOSES`.
        count: How many.
        start: How many of that purpose were had before.
        taken: The seeds of the search.
    """
    earlier = PURPOSES[: PURPOSES.index(purpose)]
    avoided = {
        *taken,
        *(derive(seed, family, p, i) for p in earlier for i in range(RESERVED)),
    }
    stream = (derive(seed, family, purpose, i) for i in counted())
    found: dict[int, None] = {}
    while len(found) < start + count:
        if (new := next(stream)) not in avoided:
            found[new] = None
    return list(found)[start:]
