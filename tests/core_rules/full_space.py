"""Random low-rank updates in full space with orthonormal bases of their joint spans: where rules meet their formulas.

N = adapters, m = out, n = in, R = dimension of the bases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from lorafold.core_rules import CoreRule
from tests.builders import Source

M, N_IN = 14, 12  # m and n


@dataclass(frozen=True)
class Full:
    """One module: ΔW_i = U C_i Vᵀ exactly, in bases turned at random."""

    updates: Tensor  # (N, m, n)
    left: Tensor  # U (m, R)
    right: Tensor  # V (n, R)

    @property
    def cores(self) -> Tensor:
        """(1, N, R, R)"""
        return (self.left.T @ self.updates @ self.right)[None]

    def merged(self, rule: CoreRule, weights: Sequence[float]) -> np.ndarray:
        """U rule(C_1, ..., C_N) Vᵀ."""
        core = rule(self.cores, torch.tensor([weights], dtype=torch.float64))[0]
        return (self.left @ core @ self.right.T).numpy()

    def expected(self, oracle: Callable[..., np.ndarray], weights: Sequence[float], **options: object) -> np.ndarray:
        """The oracle of the adapters that have the module: the others must not count."""
        have = [i for i, update in enumerate(self.updates) if bool(update.any()) and weights[i]]
        return oracle([self.updates[i].numpy() for i in have], [weights[i] for i in have], **options)


def full(updates: Sequence[Tensor], seed: int = 9) -> Full:
    """In bases of the joint spans, padded with zeros to a common width, at least one column, and turned."""
    source = Source(seed)
    sides = [_span(torch.cat([*updates], 1)), _span(torch.cat([update.T for update in updates], 1))]
    width = max(side.shape[1] for side in sides) + 1
    left, right = (pad(side, (0, width - side.shape[1])) @ source.haar(width, width) for side in sides)
    return Full(torch.stack([*updates]), left, right)


def _span(joined: Tensor) -> Tensor:
    Q, sigma, _ = torch.linalg.svd(joined, full_matrices=False)
    return Q[:, sigma > 1e-9 * sigma[0]]


def low_rank(source: Source, rank: int) -> Tensor:
    """(m, n), its singular values spread over one decade."""
    return source.haar(M, rank) @ source.conditioned(rank, rank, 10.0) @ source.haar(N_IN, rank).T


def cases() -> dict[str, Full]:
    """Modules by name; three adapters each."""
    s = Source(4)
    a, b, c = low_rank(s, 3), low_rank(s, 2), low_rank(s, 4)
    shared = s.haar(M, 3)
    same_left = [shared @ s.conditioned(3, 3, 10.0) @ s.haar(N_IN, 3).T for _ in range(3)]
    return {
        "independent": full([a, b, c]),
        "of very different norms": full([1e4 * a, b, 1e-3 * c]),
        "one lacks the module": full([a, torch.zeros_like(a), c]),
        "with one column space": full(same_left),
        "of full rank": full([low_rank(s, N_IN) for _ in range(3)]),
        "of rank 1": full([low_rank(s, 1) for _ in range(3)]),
    }
