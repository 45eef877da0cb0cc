"""Rules applied to random cores: with their options, with noise, and with factors where they want those.

b = modules, N = adapters, r = rank.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lorafold.common.options import choice
from lorafold.core_rules import CORE_RULES, CoreRule, Factors


def bound(name: str, **options: Any) -> CoreRule:
    """The rule with its options; those left out have their defaults."""
    return CORE_RULES[name].bind(choice("core", {"name": name, **options}))


def uniform(cores: Tensor) -> Tensor:
    """Always the same noise (b, N, r, r)."""
    return torch.rand(cores.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def apply(
    rule: CoreRule, cores: Tensor, weights: Tensor, noise: Tensor | None = None, *, turn: tuple[Tensor, ...] = ()
) -> Tensor:
    """The merged core of cores (b, N, r, r) and weights (b, N), whatever the rule takes besides.

    Of the adapters as many as the rule takes; their cores in frames turned by `turn`, P and Q.
    """
    first = slice(rule.adapters)
    inputs = {"noise": (uniform(cores) if noise is None else noise)[:, first]} if rule.random else {}
    of = split(cores[:, first]) if rule.factors else cores[:, first]
    return rule(turned(of, *turn) if turn else of, weights[:, first], **inputs)


def turned(of: Tensor | Factors, P: Tensor, Q: Tensor) -> Tensor | Factors:
    """The same in the frames UP and VQ instead of U and V, P and Q (b, r, r)."""
    if isinstance(of, Tensor):
        return P.mT[:, None] @ of @ Q[:, None]
    return replace(of, ups=P.mT[:, None] @ of.ups, downs=of.downs @ Q[:, None])


def split(cores: Tensor) -> Factors:
    """Factors of the cores, K = r: Q√S and √SRᵀ of their SVD, with a scale of 2 for all."""
    Q, S, Rt = torch.linalg.svd(cores)
    root = (S / 2).sqrt()
    ranks = (S > 1e-12).sum(-1)
    return Factors(Q * root[..., None, :], root[..., None] * Rt, torch.full(cores.shape[:2], 2.0).double(), ranks)
