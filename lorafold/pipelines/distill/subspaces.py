"""How far the student's subspaces are from the adapters': a regulariser of distillation.

b = modules of a group, N = adapters, K = largest rank of an adapter's module, r = rank, d = m or n.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lorafold.adapters import Adapter
from lorafold.geometry.products import product_svd
from lorafold.objectives import DISTANCES, SpectralTerm
from lorafold.pipelines.distill.student import Group, Orthonormal

# Singular values below this share of the largest are no directions of an adapter.
_NUMERICAL_RANK = 3e-7


class SubspaceDistance:
    """Mean over modules of Σ_i [δ(U, U_i) + δ(V, V_i)] / 2N, in [0, 1], with the closed gradients of δ.

    Args:
        groups: of the student, orthonormal.
        adapters: U_i and V_i are their singular vectors; a module that an adapter lacks counts as far from none.
        distance: a name of DISTANCES.
    """

    def __init__(self, groups: Sequence[Group], adapters: Sequence[Adapter], distance: str) -> None:
        self._sides: list[tuple[Tensor, SpectralTerm]] = []
        self._modules = sum(len(group.names) for group in groups)
        for group in groups:
            assert isinstance(group, Orthonormal)
            frames, dims = _frames(group, adapters)
            shares = torch.full_like(dims, 1 / (2 * len(adapters)), dtype=torch.float32)
            for frame, theirs in zip((group.left, group.right), frames, strict=True):
                caution = torch.ones_like(shares[:, 0])
                term = SpectralTerm(DISTANCES[distance], frame.shape[-1], theirs, dims, shares, caution)
                self._sides.append((frame, term))

    def __call__(self) -> Tensor:
        """The distance, on the way of gradients."""
        return torch.stack([_differentiable(term, frame) for frame, term in self._sides]).sum() / self._modules


def _differentiable(term: SpectralTerm, frame: Tensor) -> Tensor:
    """Σ_b of the term; its gradient is the closed one, so that no singular value is differentiated."""
    value, slope = term.evaluate(frame.detach())
    return value.sum() + (slope * (frame - frame.detach())).sum()


def _frames(group: Orthonormal, adapters: Sequence[Adapter]) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """U_i (b, N, m, K), V_i (b, N, n, K) and numbers of directions (b, N), zero-padded."""
    b, m, _ = group.left.shape
    n, most = group.right.shape[1], _largest_rank(group, adapters)
    left, right = group.left.new_zeros(b, len(adapters), m, most), group.left.new_zeros(b, len(adapters), n, most)
    dims = torch.zeros(b, len(adapters), dtype=torch.long, device=left.device)
    for row, name in enumerate(group.names):
        for column, adapter in enumerate(adapters):
            if (module := adapter.modules.get(name)) is not None:
                U, sigma, V = product_svd(module.up, module.down)
                k = int((sigma > _NUMERICAL_RANK * sigma[0]).sum())
                left[row, column, :, :k], right[row, column, :, :k], dims[row, column] = U[:, :k], V[:, :k], k
    return (left, right), dims


def _largest_rank(group: Group, adapters: Sequence[Adapter]) -> int:
    return max(
        min(module.rank, *module.shape)
        for adapter in adapters
        for name in group.names
        if (module := adapter.modules.get(name)) is not None
    )
