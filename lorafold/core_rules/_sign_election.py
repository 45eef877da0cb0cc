"""The election of a sign per entry, and the mean over the adapters that agree with it.

b = modules, N = adapters, r = rank.
"""

from __future__ import annotations

from torch import Tensor

# Relative to the terms of a sum: what rounding leaves of entries that cancel has no sign.
_CANCELLED = 1e-12

ELECTIONS = ("weighted", "unweighted")


def disjoint_mean(cores: Tensor, weights: Tensor, elect: str) -> Tensor:
    """Elect a sign for every entry and average the entries of that sign.  (b, r, r)

    - weighted: γ = sgn(Σ w_iC_i), and Σ w_iC_i / Σ|w_i| over the i with sgn(w_iC_i) = γ, as mergekit does; signed
      weights subtract, and their common size does not matter.
    - unweighted: γ = sgn(Σ C_i), and Σ w_iC_i / |{i}| over the i with sgn(C_i) = γ, as PEFT does.

    With equal positive weights both are the paper's, the second up to the weight. Where the entries cancel, γ = 0
    and so is the result, as in the paper; codes that take 0 for + depend on the signs of the bases of U and V.

    Args:
        cores: (b, N, r, r), pruned.
        weights: w_i (b, N).
        elect: one of ELECTIONS.

    Source: Yadav et al., "TIES-Merging", NeurIPS 2023, section 4, steps 2 and 3.
    """
    size = weights[..., None, None]
    weighted = size * cores
    if elect == "weighted":
        agree = agreeing(weighted)
        return ratio((weighted * agree).sum(1), (size.abs() * agree).sum(1))
    agree = agreeing(cores)
    return ratio((weighted * agree).sum(1), agree.to(cores.dtype).sum(1))


def agreeing(terms: Tensor) -> Tensor:
    """True where an entry is not zero and has the sign of the sum over the adapters.  (b, N, r, r)"""
    total = terms.sum(1, keepdim=True)
    elected = total.sign() * (total.abs() > _CANCELLED * terms.abs().sum(1, keepdim=True))
    return (elected != 0) & (terms.sign() == elected)


def ratio(value: Tensor, of: Tensor) -> Tensor:
    """value / of, and 0 where both are."""
    return value / of.where(of != 0, 1.0)
