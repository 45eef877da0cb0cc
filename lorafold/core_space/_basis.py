"""Orthonormal bases from Gram matrices, rank-revealing and batched.

b = modules, R = columns of X (some may be zero padding).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.common.batched import scatter_rows
from lorafold.geometry.eigen import eigh

# Directions of the column-normalised X below this singular value, relative to the largest, are rounding noise: of
# float32 factors (6e-8) or of the Gram matrix itself (sqrt(eps) = 1.5e-8), with a margin.
SPAN_TOLERANCE = 1e-6
# Cholesky's basis is used while σ_min⁻² of the column-normalised X is below this: it is orthonormal to 1e-9 then, or to
# 1e-6 where that will do.
WELL_CONDITIONED, ROUGHLY = 1e6, 1e10


@dataclass(frozen=True)
class Basis:
    """Q = X T is orthonormal and X = Q `coords`; the columns of T of dropped directions are zero.

    Of a side that is narrower than R, Q may be the identity instead, and `coords` X itself (b, d, R).
    """

    transform: Tensor | None  # (b, R, R)  T; None: Q = I
    coords: Tensor  # (b, R, R)  QᵀX
    dims: Tensor  # (b,)  dimension of span X
    sound: Tensor  # (b,)  False where T is so large that Q needs a second pass

    def then(self, refined: Basis) -> Basis:
        """The basis of span X that `refined`, the basis of span Q, gives."""
        return Basis(self.T @ refined.T, refined.coords @ self.coords, refined.dims, refined.sound)

    @property
    def T(self) -> Tensor:
        """`transform`, of a basis of columns of X."""
        assert self.transform is not None
        return self.transform


def identity_basis(X: Tensor) -> Basis:
    """That of the whole space (b, d, R), in which the columns count as independent."""
    dims = torch.full((len(X),), X.shape[-1], device=X.device)
    return Basis(None, X, dims, torch.ones_like(dims, dtype=torch.bool))


def orthonormal_basis(gram: Tensor, limit: float = WELL_CONDITIONED) -> Basis:
    """The basis of span X from G = XᵀX (b, R, R) in float64.

    Columns are normalised first, D⁻¹GD⁻¹ with D² = diag G: what counts as noise then does not depend on the scale of
    a column, as adapters of very different norms need (within a factor R of the best column scaling; van der Sluis
    1969). Where L⁻¹ of the Cholesky factor shows that every direction is sound, T = D⁻¹L⁻ᵀ; elsewhere T comes from
    the eigenvectors above SPAN_TOLERANCE.

    Args:
        limit: of σ_min⁻², see above.
    """
    norms = gram.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()  # (b, R)
    present = (norms > 0).to(gram.dtype)
    inverse = present / torch.where(norms > 0, norms, 1.0)
    unit = gram * inverse[:, :, None] * inverse[:, None, :]
    L, info = torch.linalg.cholesky_ex(unit + torch.diag_embed(1 - present))
    Linv = torch.linalg.solve_triangular(
        L, torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device), upper=False
    )
    basis = Basis(
        transform=inverse[:, :, None] * Linv.mT * present[:, None, :],
        coords=present[:, :, None] * L.mT * norms[:, None, :],
        dims=present.sum(-1).to(torch.int64),
        sound=(info == 0) & (Linv.square().sum((-2, -1)) < limit),
    )
    if bool(basis.sound.all()):
        return basis
    weak = (~basis.sound).nonzero().squeeze(-1)
    return scatter_rows(basis, weak, _eigen_basis(unit[weak], norms[weak], inverse[weak]))


def _eigen_basis(unit: Tensor, norms: Tensor, inverse: Tensor) -> Basis:
    eigenvalues, Z = eigh(unit)
    # strictly greater: of a zero matrix nothing is kept
    kept = eigenvalues > SPAN_TOLERANCE**2 * eigenvalues[:, -1:]
    root = torch.where(kept, eigenvalues, 1.0).sqrt()
    return Basis(
        transform=inverse[:, :, None] * Z * (kept / root)[:, None, :],
        coords=(Z * (kept * root)[:, None, :]).mT * norms[:, None, :],
        dims=kept.sum(-1),
        sound=torch.zeros_like(kept[:, 0]),
    )
