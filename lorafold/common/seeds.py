"""Random numbers that depend on a seed and a name alone, not on the order of the work."""

from __future__ import annotations

from hashlib import blake2b

import torch


def generator_of(seed: int, name: str) -> torch.Generator:
    """A stream of its own for each name."""
    digest = blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))
