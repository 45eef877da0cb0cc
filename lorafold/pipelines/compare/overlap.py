"""How the subspaces and the updates of two adapters lie to each other, in core space, for a batch of modules.

s = side (0 left, 1 right), b = modules, R = core dimension, K / L = slots of the first / second adapter, k / l = their
numerical ranks in a module, a = min(K, L).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from lorafold.common.batched import map_tensors
from lorafold.common.text import brief
from lorafold.core_space import RANK_TOLERANCE, CoreBatch
from lorafold.core_space.problem import Problem
from lorafold.geometry import DISTANCES, phi_grid, principal_angles
from lorafold.geometry.angles import rough_angles
from lorafold.geometry.singular import svd


@dataclass(frozen=True)
class SingularFrames:
    """ΔW = U Σ Vᵀ of one adapter; all is zero past its numerical rank, where singular vectors are noise."""

    frames: Tensor  # (s, b, R, K)  U and V
    sigma: Tensor  # (b, K)  descending
    dims: Tensor  # (b,)  numerical rank

    @property
    def kept(self) -> Tensor:
        """Which columns are there.  (b, K)"""
        return torch.arange(self.sigma.shape[-1], device=self.dims.device) < self.dims[:, None]


@dataclass(frozen=True)
class Overlap:
    """The measures of two adapters; NaN where one of the updates is zero."""

    grid: Tensor  # (s, b, K, L)  φ(i, j) of the leading i and j singular vectors; of no meaning past k and l
    phi: Tensor  # (s, b)  φ(k, l)
    grid_mean: Tensor  # (s, b)  mean of φ(i, j) over 1 <= i <= k, 1 <= j <= l
    angles: Tensor  # (s, b, a)  the min(k, l) principal angles, ascending; zeros follow
    distances: dict[str, Tensor]  # (s, b) each
    inner: Tensor  # (b,)  ⟨ΔW_1, ΔW_2⟩
    turned: Tensor  # (2, b)  variance of ⟨ΔW_1, ΔW_2⟩ with the one, the other update turned inside its subspaces

    __repr__ = brief


def on_cpu(found: Overlap) -> Overlap:
    """The same, where it is reported from."""
    distances = {name: values.cpu() for name, values in found.distances.items()}
    return replace(map_tensors(found, Tensor.cpu), distances=distances)


def singular_frames(batch: CoreBatch) -> list[SingularFrames]:
    """Frames in singular order, one for each adapter of the problem."""
    problem = batch.problem
    return [
        _singular_frames(problem, adapter, slot) for adapter, slot in enumerate(batch.slots[: problem.dims.shape[1]])
    ]


def overlap(
    first: SingularFrames, second: SingularFrames, distances: Sequence[str], *, roughly: bool = False
) -> Overlap:
    """Compare two adapters, both sides of all modules at once.

    Args:
        first, second: as `singular_frames` returns them.
        distances: keys of `geometry.DISTANCES`. For k != l they see the min(k, l) angles that exist
            (`completion="containment"`), as φ does.
        roughly: whether angles will do that are right to 1e-7.
    """
    both = (first.dims > 0) & (second.dims > 0)
    products = first.frames.mT @ second.frames
    angles = _existing(rough_angles(products) if roughly else _angles(first, second), first, second)
    inner, turned = _updates(first, second, products)
    # The grid comes from frames that are orthonormal up to rounding: equal subspaces may exceed 1 in the last digit.
    grid = phi_grid(first.frames, second.frames).clamp_max(1)
    cells = (first.kept[:, :, None] & second.kept[:, None, :]).to(grid.dtype)
    corner = (first.dims - 1).clamp_min(0) * grid.shape[-1] + (second.dims - 1).clamp_min(0)
    phi = grid.flatten(-2).gather(-1, corner.expand(2, -1)[..., None]).squeeze(-1)
    return Overlap(
        grid,
        torch.where(both, phi, torch.nan),
        (grid * cells).sum((-2, -1)) / cells.sum((-2, -1)),
        angles,
        {name: torch.where(both, DISTANCES[name](angles), torch.nan) for name in distances},
        inner,
        turned,
    )


def _singular_frames(problem: Problem, adapter: int, slot: int) -> SingularFrames:
    Q, sigma, Rt = svd(problem.core[:, adapter, :slot, :slot])
    kept = (sigma > RANK_TOLERANCE * sigma[:, :1]).to(sigma.dtype)
    frames = torch.stack([problem.left[:, adapter, :, :slot], problem.right[:, adapter, :, :slot]])
    rotations = torch.stack([Q, Rt.mT]) * kept[:, None, :]
    return SingularFrames(frames @ rotations, sigma * kept, kept.sum(-1).to(torch.int64))


def _angles(first: SingularFrames, second: SingularFrames) -> Tensor:
    """Principal angles (s, b, a), those past the min(k, l) that exist among them."""
    K, L = first.sigma.shape[-1], second.sigma.shape[-1]
    # A dropped column gets a coordinate of its own: at right angles to everything, it comes last.
    return principal_angles(_completed(first, 0, L), _completed(second, K, 0))


def _existing(angles: Tensor, first: SingularFrames, second: SingularFrames) -> Tensor:
    """The angles with 0, which no distance notices, past the min(k, l) that exist."""
    exist = torch.arange(angles.shape[-1], device=angles.device) < torch.minimum(first.dims, second.dims)[:, None]
    return angles * exist


def _completed(update: SingularFrames, before: int, after: int) -> Tensor:
    """The frames with `before` + K + `after` further rows, in which dropped columns are unit vectors."""
    units = torch.diag_embed((~update.kept).to(update.frames.dtype)).expand(2, -1, -1, -1)
    return torch.cat([update.frames, pad(units, (0, 0, before, after))], -2)


def _updates(first: SingularFrames, second: SingularFrames, products: Tensor) -> tuple[Tensor, Tensor]:
    """⟨ΔW_1, ΔW_2⟩ (b,) and its variance (2, b) when either update is turned at random inside its own subspaces.

    With L = U_1ᵀU_2 and R = V_1ᵀV_2 the inner product is tr(Σ_1 L Σ_2 Rᵀ). For independent Haar O, P in O(k) Schur's
    lemma gives E ⟨U_1 O Σ_1 Pᵀ V_1ᵀ, ΔW_2⟩² = ‖ΔW_1‖² ‖U_1ᵀ ΔW_2 V_1‖² / k².
    """
    L, R = products  # (b, K, L) each
    sigma, tau = first.sigma[:, None, :], second.sigma[:, None, :]
    inner = (sigma.mT * L * R * tau).sum((-2, -1))
    # ‖U_1ᵀ ΔW_2 V_1‖² and ‖U_2ᵀ ΔW_1 V_2‖²
    inside = [((L * tau) @ R.mT).square().sum((-2, -1)), ((L.mT * sigma) @ R).square().sum((-2, -1))]
    energy = [update.sigma.square().sum(-1) / update.dims.clamp_min(1) ** 2 for update in (first, second)]
    return inner, torch.stack(inside) * torch.stack(energy)
