"""KnOTS-TIES: TIES in the adapters' joint left singular basis.

M = modules, N = adapters, m = out, n = in, k <= Σ r_i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.core_rules._registry import core_rule
from lorafold.core_rules._sign_election import disjoint_mean
from lorafold.core_rules.ties import check_election
from lorafold.core_space import RANK_TOLERANCE, Layer


@core_rule("knots_ties", whole=True, averages=True, check=check_election)
def knots_ties(layers: Sequence[Layer], weights: Tensor, *, density: float, elect: str) -> list[tuple[Tensor, Tensor]]:
    """U TIES(ΣV_1ᵀ, ..., ΣV_Nᵀ) with [ΔW_1|...|ΔW_N] = UΣ[V_1ᵀ|...|V_Nᵀ]; an entry is a direction and an input.

    As in the authors' code, what is trimmed is a whole adapter: the fraction d of all its entries, in all modules that
    it has, is kept (their code: one entry more). The election and the mean are theirs at equal weights. Their λ, 0.6
    in the file for ViT-B/32, is `scale`. The result has rank k; its rows leave
    the span of the adapters' rows.

    Args:
        layers, weights: the adapters' factors, and w_i (M, N).
        density: d, in (0, 1].
        elect: as of `ties`.

    Source: Stoica et al., "Model merging with SVD to tie the KnOTS", ICLR 2025, arXiv:2410.19735.
    """
    frames = [_frame(layer, own) for layer, own in zip(layers, weights, strict=True)]
    thresholds = torch.tensor([_threshold(frames, adapter, density) for adapter in range(weights.shape[1])])
    merged = []
    for frame, own in zip(frames, weights, strict=True):
        rows = torch.stack([frame.rows(adapter) for adapter in range(len(own))])  # (N, k, n)
        kept = rows * (rows.abs().float() >= thresholds[:, None, None])
        merged.append((frame.left, disjoint_mean(kept[None], own[None], elect)[0]))
    return merged


@dataclass(frozen=True)
class _Frame:
    """U, and the ΣV_iᵀ = UᵀΔW_i of one module as products: those of whole models are many numbers."""

    left: Tensor  # U (m, k)
    ups: tuple[Tensor, ...]  # s_i UᵀB_i (k, r_i), empty of an adapter that does not take part
    downs: tuple[Tensor, ...]  # A_i (r_i, n)

    def rows(self, adapter: int) -> Tensor:
        """ΣV_iᵀ (k, n)"""
        return self.ups[adapter] @ self.downs[adapter]


def _frame(layer: Layer, weights: Tensor) -> _Frame:
    present = [weight * scale != 0 for weight, scale in zip(weights.tolist(), layer.scales, strict=True)]
    downs = [down.double()[: down.shape[0] * there] for down, there in zip(layer.downs, present, strict=True)]
    ups = [
        scale * up.double()[:, : up.shape[1] * there]
        for scale, up, there in zip(layer.scales, layer.ups, present, strict=True)
    ]
    basis = torch.linalg.qr(torch.cat(ups, 1)).Q
    ups = [basis.mT @ up for up in ups]
    # of [ΔW_1|...|ΔW_N] the rows of each block turned to the front
    joint = torch.cat([up @ torch.linalg.qr(down.mT).R.mT for up, down in zip(ups, downs, strict=True)], 1)
    U, sigma, _ = torch.linalg.svd(joint, full_matrices=False)
    U = U[:, sigma > RANK_TOLERANCE * sigma[:1]]
    return _Frame(basis @ U, tuple(U.mT @ up for up in ups), tuple(downs))


def _threshold(frames: Sequence[_Frame], adapter: int, density: float) -> float:
    """The magnitude, in float32, from which on an entry of the adapter is kept, in whatever module it is."""
    sizes = [frame.rows(adapter).abs().float().flatten() for frame in frames if frame.downs[adapter].numel()]
    if not sizes:
        return 0.0
    flat = torch.cat(sizes)
    keep = max(1, int(density * len(flat)))
    return float(flat.kthvalue(len(flat) - keep + 1).values) if len(flat) else 0.0
