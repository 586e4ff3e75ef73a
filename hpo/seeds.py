"""Every random choice as a stable hash of what it is for; never a running generator."""

from __future__ import annotations

import hashlib


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
