"""Elementwise and Kronecker products of two low-rank matrices, as one pair of factors.

Shapes: a pair is up (m, r) and down (r, n), and stands for up @ down. The product of pairs of rank r_1 and r_2 has rank
r_1 r_2 at most; where that is more than allowed, the result is the best approximation of the rank that is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lorafold.adapters.parametrisations.truncation import Factors, exactly, leading, lost_energy, truncate

Pair = tuple[Tensor, Tensor]
Product = Callable[[Pair, Pair, int | None], Factors]


def hadamard(first: Pair, second: Pair, rank: int | None) -> Factors:
    """(B_1 A_1) ∘ (B_2 A_2) of two pairs of the same m and n: exactly the pair of their Khatri-Rao products.

    Row i of up is the Kronecker product of the rows i of B_1 and B_2; down likewise by columns (LoHa: Hyeon-Woo, Ye-Bin
    & Oh, FedPara, 2022, proposition 1).

    Args:
        rank: at most; None: exact.
    """
    dtype = _wide(first, second)
    (B1, A1), (B2, A2) = ((up.to(dtype), down.to(dtype)) for up, down in (first, second))
    m, n, width = len(B1), A1.shape[1], B1.shape[1] * B2.shape[1]
    if width > min(m, n):
        return _in(dtype, truncate((B1.double() @ A1.double()) * (B2.double() @ A2.double()), rank))
    up = torch.einsum("mi,mj->mij", B1, B2).reshape(m, width)
    down = torch.einsum("in,jn->ijn", A1, A2).reshape(width, n)
    return Factors(up, down) if rank is None or width <= rank else _in(dtype, _cut(up.double(), down.double(), rank))


def kronecker(first: Pair, second: Pair, rank: int | None) -> Factors:
    """(B_1 A_1) ⊗ (B_2 A_2) = (B_1 ⊗ B_2)(A_1 ⊗ A_2), exactly, of pairs of any sizes.

    The singular values of a Kronecker product are the products of those of its factors, and so are its singular
    vectors: the best approximation needs the SVDs of the two small matrices only.

    Args:
        rank: at most; None: exact.
    """
    dtype = _wide(first, second)
    (B1, A1), (B2, A2) = _thin(first, dtype), _thin(second, dtype)
    width = B1.shape[1] * B2.shape[1]
    if rank is None or width <= rank:
        return Factors(torch.kron(B1, B2), torch.kron(A1, A2))
    one, two = B1.double() @ A1.double(), B2.double() @ A2.double()
    (U1, S1, Vh1), (U2, S2, Vh2) = leading(one, rank), leading(two, rank)
    S, order = torch.outer(S1, S2).flatten().topk(rank)
    i, j = order // len(S2), order % len(S2)
    up = torch.einsum("ak,bk->abk", U1[:, i], U2[:, j]).flatten(0, 1)
    down = torch.einsum("kc,kd->kcd", Vh1[i], Vh2[j]).flatten(1)
    root, total = S.sqrt(), one.square().sum() * two.square().sum()
    return _in(dtype, Factors(up * root, root[:, None] * down, lost_energy(S, total)))


def _cut(up: Tensor, down: Tensor, rank: int) -> Factors:
    """The best approximation of a pair, float64, through its coordinates in orthonormal bases of up and downᵀ."""
    (Q, R), (P, L) = torch.linalg.qr(up), torch.linalg.qr(down.mT)
    inner = truncate(R @ L.mT, rank)
    return Factors(Q @ inner.up, inner.down @ P.mT, inner.lost)


def _thin(pair: Pair, dtype: torch.dtype) -> Pair:
    """The pair; if it is wider than its product, that and an identity."""
    up, down = (factor.to(dtype).contiguous() for factor in pair)  # torch.kron fails on transposed ones
    return exactly(up @ down)[:2] if up.shape[1] > min(len(up), down.shape[1]) else (up, down)


def _wide(*pairs: Pair) -> torch.dtype:
    """float32 or wider: products of half-precision numbers are exact in it."""
    dtype = torch.float32
    for up, down in pairs:
        dtype = torch.promote_types(dtype, torch.promote_types(up.dtype, down.dtype))
    return dtype


def _in(dtype: torch.dtype, factors: Factors) -> Factors:
    return Factors(factors.up.to(dtype), factors.down.to(dtype), factors.lost)
