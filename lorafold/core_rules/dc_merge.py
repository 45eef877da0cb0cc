"""DC-Merge: level spectra, merged entry by entry in bases that all adapters' directions span together.

b = modules, N = adapters, r = rank of the merged subspaces, k_i = numerical rank of C_i, k = max k_i, K = N k.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.core_rules._checks import check_density, check_word
from lorafold.core_rules._registry import core_rule
from lorafold.core_rules._sign_election import disjoint_mean
from lorafold.core_rules._spectral import Spectrum, isometry, spectrum

_SMOOTH = ("flat", "linear")
# ρ of the paper: the most that the largest singular value of a ramp is to its smallest.
_STEEPEST = 5.0


def _check(smooth: str, density: float | None) -> None:
    check_word("smooth", smooth, _SMOOTH)
    if density is not None:
        check_density(density=density)


@core_rule("dc_merge", averages=True, check=_check)
def dc_merge(cores: Tensor, weights: Tensor, *, smooth: str, density: float | None) -> Tensor:
    """Û (D ∘ TIES(M_1, ..., M_N)) V̂ᵀ with M_i = ÛᵀC̃_iV̂ and Û, V̂ the polar factors of [U_1|...|U_N], [V_1|...|V_N].

    C̃_i = U_iΣ̃_iV_iᵀ is C_i = U_iΣ_iV_iᵀ with the same sum of singular values, Σ̃_i being level. Of M_i the largest
    entries are kept; D leaves those between the directions of one adapter. One adapter is not itself: its spectrum is
    level too. An adapter given twice comes out at half, D taking the other; weights count where directions of several
    adapters meet.

    Args:
        cores, weights: C_i (b, N, r, r) and w_i (b, N).
        smooth: Σ̃_i: "flat", all equal; "linear", a ramp as steep as Σ_i, at most 5 to 1.
        density: the fraction of the (Σ k_i)² entries that is kept of each M_i, 0.001 in the authors' code. None: k_i
            entries, which that is for their eight adapters of rank 16; of fewer adapters it leaves hardly any.

    Source: Zhang et al., "DC-Merge: Improving Model Merging with Directional Consistency", CVPR 2026,
    arXiv:2603.06242, as the code for LoRA has it.
    """
    parts = _present(spectrum(cores * (weights != 0)[..., None, None]))
    level = _level(parts, smooth)
    frames = parts.pooled()
    left, right = isometry(frames.left), isometry(frames.right)  # (b, r, K)
    entries = left.mT[:, None] @ (parts.left * level[..., None, :]) @ (parts.right.mT @ right[:, None])  # M_i
    keep = parts.rank if density is None else (density * parts.rank.sum(-1, keepdim=True).square() + 1e-9).long()
    merged = disjoint_mean(entries * _largest(entries, keep.clamp_min(1)), weights, "weighted")
    return left @ (merged * _blocks(parts)) @ right.mT


def _present(parts: Spectrum) -> Spectrum:
    """Without the columns in which no adapter has a direction: at least one stays.  k = max k_i"""
    k = max(1, int(parts.rank.max()))
    return Spectrum(parts.left[..., :k], parts.sigma[..., :k], parts.right[..., :k])


def _level(parts: Spectrum, smooth: str) -> Tensor:
    """Σ̃_i.  (b, N, k)"""
    present = (parts.sigma > 0).to(parts.sigma.dtype)
    if smooth == "flat":
        return parts.mean[..., None] * present
    last = parts.sigma.gather(-1, (parts.rank - 1).clamp_min(0)[..., None])  # (b, N, 1)
    steep = (parts.sigma[..., :1] / torch.where(last > 0, last, 1.0)).clamp_max(_STEEPEST)
    columns = torch.arange(present.shape[-1], dtype=present.dtype, device=present.device)
    along = columns / (parts.rank - 1).clamp_min(1)[..., None]
    ramp = (steep + (1 - steep) * along) * present
    return ramp * parts.sigma.sum(-1, keepdim=True) / ramp.sum(-1, keepdim=True).clamp_min(1)


def _largest(entries: Tensor, keep: Tensor) -> Tensor:
    """True at the `keep` (b, N or 1) entries of largest magnitude of each matrix.  (b, N, K, K)"""
    place = entries.flatten(2).abs().argsort(dim=-1, descending=True, stable=True).argsort(-1)
    return (place < keep[..., None]).view_as(entries)


def _blocks(parts: Spectrum) -> Tensor:
    """1 where row and column belong to one adapter.  (K, K)"""
    owner = torch.arange(parts.sigma.shape[1], device=parts.sigma.device).repeat_interleave(parts.sigma.shape[2])
    return (owner[:, None] == owner).to(parts.sigma.dtype)
