"""The factors of every adapter in core space: as in the files, balanced, and how the ones become the others.

b = modules, N = adapters, R = core dimension, K = an adapter's slot, r = common width (the largest slot).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.core_space import RANK_TOLERANCE, CoreBatch
from lorafold.geometry.singular import svd

_LEAST = 1e-4  # singular values relative to the largest, by whose root factors are divided
_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Factors:
    """ΔW = X Yᵀ of one adapter in core coordinates; columns past its rank are zero."""

    up: Tensor  # (b, R, r)  X
    down: Tensor  # (b, R, r)  Y

    def times(self, right: Tensor, left: Tensor) -> Factors:
        """X P and Y Wᵀ for P = right and W = left (b, r, r): the same update where P W = I."""
        return Factors(self.up @ right, self.down @ left.mT)

    def update(self) -> Tensor:
        """ΔW in core coordinates.  (b, R, R)"""
        return self.up @ self.down.mT


@dataclass(frozen=True)
class Rewritten:
    """Factors and how those of the file become them: with B and A as there, X = B `from_up` and Yᵀ = `from_down` A."""

    factors: Factors
    from_up: Tensor  # (b, K, r)
    from_down: Tensor  # (b, r, K)

    def times(self, right: Tensor, left: Tensor) -> Rewritten:
        """X P and W Yᵀ for P = right and W = left (b, r, r)."""
        return Rewritten(self.factors.times(right, left), self.from_up @ right, left @ self.from_down)


@dataclass(frozen=True)
class Balanced:
    """ΔW = U S Vᵀ split evenly, X = U √S and Y = V √S."""

    rewritten: Rewritten
    sigma: Tensor  # (b, r)  S, descending; zero past the numerical rank

    @property
    def factors(self) -> Factors:
        """X and Y."""
        return self.rewritten.factors

    @property
    def kept(self) -> Tensor:
        """Which columns are there, as 0 and 1.  (b, r)"""
        return (self.sigma > 0).to(self.sigma.dtype)

    def frames(self) -> tuple[Tensor, Tensor]:
        """U and V (b, R, r); columns past the rank are zero."""
        inverse = _inverse(self.sigma.sqrt())[:, None, :]
        return self.factors.up * inverse, self.factors.down * inverse


def as_filed(batch: CoreBatch, adapter: int) -> Rewritten:
    """As a tool sees them that averages factors: √|s| in each, the sign of s in `up`, zero-padded to the width r."""
    up, down, scale = _in_file(batch, adapter)
    root, eye = scale.abs().sqrt(), torch.eye(batch.slots[adapter], max(batch.slots), dtype=up.dtype, device=up.device)
    from_up, from_down = scale.sign() * root * eye, root * eye.mT
    return Rewritten(Factors(up @ from_up, down @ from_down.mT), from_up, from_down)


def balancing(filed: Factors, balanced: Balanced) -> tuple[Tensor, Tensor]:
    """T and T⁻¹ (b, r, r) that turn the factors of a file into balanced ones, X T and T⁻¹Yᵀ.

    That is T = YᵀV S^-½, whose left inverse is S^-½UᵀX, completed by the kernel of that. Singular values below 10⁻⁴ of
    the largest count as so much, so that T is no worse conditioned than the factors are. What the factors hold beside
    ΔW, as columns that meet zeros, stays in the columns past its rank.
    """
    U, V = balanced.frames()
    root = torch.maximum(balanced.sigma, _LEAST * balanced.sigma[:, :1]).sqrt() * balanced.kept
    inverse = _inverse(root)
    kernel = svd(inverse[:, :, None] * (U.mT @ filed.up)).Vh.mT * (1 - balanced.kept)[:, None, :]
    sizes = [torch.linalg.matrix_norm(factor) for factor in (filed.up, filed.down)]
    ratio = torch.where(sizes[0] * sizes[1] > 0, sizes[1] / sizes[0].clamp_min(_TINY), 1.0).sqrt()
    T = filed.down.mT @ V * inverse[:, None, :] + ratio[:, None, None] * kernel
    return T, torch.linalg.inv(T)


def balanced(batch: CoreBatch, adapter: int) -> Balanced:
    """The balanced factors, a gauge that minimises ‖X‖² + ‖Y‖²: up to signs, which singular vectors lack.

    X = B (s A V S^-½) and Yᵀ = (s S^-½ UᵀB) A need no inverse of a factor, and their product s² B A V S⁻¹ UᵀB A is
    ΔW as long as UᵀΔWV = S has its rank, whatever rounding did to U and V.
    """
    up, down, scale = _in_file(batch, adapter)
    problem, width = batch.problem, max(batch.slots)
    Q, sigma, Rt = svd(problem.core[:, adapter])  # (b, r, r)
    sigma = sigma * (sigma > RANK_TOLERANCE * sigma[:, :1])  # strictly greater: of a zero update nothing is kept
    sigma = sigma * (torch.arange(width, device=sigma.device) < batch.slots[adapter])
    root, kept = sigma.sqrt(), (sigma > 0).to(sigma.dtype)
    U, V = problem.left[:, adapter] @ (Q * kept[:, None, :]), problem.right[:, adapter] @ (Rt.mT * kept[:, None, :])
    inverse = _inverse(root)
    rewritten = Rewritten(
        Factors(U * root[:, None, :], V * root[:, None, :]),
        from_up=scale * (down.mT @ V) * inverse[:, None, :],
        from_down=scale * inverse[:, :, None] * (U.mT @ up),
    )
    return Balanced(rewritten, sigma)


def averaging_error(first: Factors, second: Factors) -> tuple[Tensor, Tensor]:
    """‖((X1+X2)/2)((Y1+Y2)/2)ᵀ - (ΔW_1+ΔW_2)/2‖² and ‖(ΔW_1+ΔW_2)/2‖².  (b,) each

    The difference is -(X1-X2)(Y1-Y2)ᵀ/4, so no two large numbers are subtracted, and its norm is at most
    (‖X1-X2‖² + ‖Y1-Y2‖²)/8: what an alignment minimises. A gauge that both share changes neither.
    """
    error = (first.up - second.up) @ (first.down - second.down).mT / 4
    target = (first.update() + second.update()) / 2
    return error.square().sum((-2, -1)), target.square().sum((-2, -1))


def _in_file(batch: CoreBatch, adapter: int) -> tuple[Tensor, Tensor, Tensor]:
    """B and Aᵀ in core coordinates (b, R, K), and s (b, 1, 1)."""
    up, down = (torch.split(basis.coords, list(batch.slots), dim=-1)[adapter] for basis in (batch.left, batch.right))
    scales = [layer.scales[adapter] for layer in batch.layers]
    return up, down, torch.tensor(scales, dtype=up.dtype, device=up.device)[:, None, None]


def _inverse(value: Tensor) -> Tensor:
    return (value > 0) / torch.where(value > 0, value, 1.0)
