"""Random choices without state.

Every random choice in senet is a function of what it is for, such as (seed, epoch, image index),
never of how many numbers were drawn before. That is what makes an interrupted training resume
to the same bits, with any number of worker processes.
"""

from __future__ import annotations

import hashlib


def seed_from(*parts: int | str) -> int:
    """Return a seed in [0, 2**63) that depends on every part and on their order.

    Args:
        parts: what the random numbers are for, for example ``("order", seed, epoch)``.
    """
    text = "\x1f".join(str(part) for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
