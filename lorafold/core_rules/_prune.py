"""Which entries of a core stay: the first step of most rules for entries.

b = modules, N = adapters, r = rank. A fraction d of n entries is int(d n) of them, as in PEFT and mergekit, but at
least one, so that a small core does not vanish. Of equal magnitudes the one further up, then further left stays.
"""

from __future__ import annotations

import torch
from torch import Tensor


def trim(cores: Tensor, density: float) -> Tensor:
    """The fraction `density` of largest magnitude of every matrix, the others zero.  (..., r, r)"""
    return cores * largest(cores.abs(), count(density, cores))


def count(density: float, cores: Tensor) -> int:
    """How many entries of a matrix that is."""
    return max(1, int(density * cores.shape[-2] * cores.shape[-1]))


def largest(size: Tensor, keep: int) -> Tensor:
    """True at the `keep` largest entries of every matrix.  (..., r, r)"""
    flat = size.flatten(-2)
    order = flat.argsort(dim=-1, descending=True, stable=True)
    mask = torch.zeros_like(flat, dtype=torch.bool).scatter(-1, order[..., :keep], True)
    return mask.view_as(size)


def drop(cores: Tensor, noise: Tensor, keep: Tensor | float) -> Tensor:
    """Each entry with probability `keep` divided by it, else zero: its expectation is the entry itself.

    Args:
        cores, noise: (b, N, r, r); `noise` is uniform in [0, 1).
        keep: in (0, 1], for all entries or for each.
    """
    return torch.where(noise < keep, cores / keep, 0.0)
