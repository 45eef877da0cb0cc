"""The Grassmann manifold Gr(k, n) for geoopt, which has Stiefel manifolds only.

Shapes: n = ambient dimension, k = dimension of the subspaces; leading dimensions are a batch. A point is a frame x
(..., n, k) with xᵀ x = I that stands for its span; tangent vectors are horizontal lifts u (..., n, k), xᵀ u = 0.

All maps are equivariant: from x Q instead of x (Q orthogonal) they give the same subspaces and the same tangent
vectors, lifted to x Q. Hence momentum and iterates of an optimiser depend on the spans alone. This is
why the retraction is polar: that of QR is the same subspace in a frame that does not follow x Q.

Every operation is a few n x k products and one k x k factorisation; no n x n matrix is formed.
"""

from __future__ import annotations

import torch
from geoopt.manifolds.base import Manifold
from geoopt.tensor import ManifoldTensor
from geoopt.utils import size2shape
from torch import Tensor

from lorafold.geometry.frames import orthonormality_error, polar
from lorafold.geometry.geodesic_loss import squared_geodesic
from lorafold.geometry.maps import expmap, expmap_transport, logmap, transport

Check = tuple[bool, str | None]


class Grassmann(Manifold):
    """Gr(k, n) with the polar retraction, a second-order approximation of Exp, and transport by projection.

    Sources: Absil, Mahony & Sepulchre, "Optimization Algorithms on Matrix Manifolds" (2008), sections 3.6 and 4.1;
    Edelman, Arias & Smith, SIAM J. Matrix Anal. Appl. 20 (1998), section 2.5.
    """

    name = "Grassmann"
    ndim = 2
    reversible = False

    def _check_shape(self, shape: tuple[int, ...], name: str) -> Check:
        ok, reason = super()._check_shape(shape, name)
        if ok and shape[-1] > shape[-2]:
            return False, f"`{name}` should have shape[-1] <= shape[-2], got {shape[-1]} </= {shape[-2]}"
        return ok, reason

    def _check_point_on_manifold(self, x: Tensor, *, atol: float, rtol: float) -> Check:
        if bool((orthonormality_error(x) <= atol).all()):
            return True, None
        return False, f"`X^T X != I` with atol={atol}, rtol={rtol}"

    def _check_vector_on_tangent(self, x: Tensor, u: Tensor, *, atol: float, rtol: float) -> Check:
        if bool(((x.mT @ u).abs() <= atol).all()):
            return True, None
        return False, f"`X^T U != 0` with atol={atol}, rtol={rtol}"

    def projx(self, x: Tensor) -> Tensor:
        """The nearest orthonormal frame, of the same span."""
        return polar(x)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """(I - x xᵀ) u: the horizontal part."""
        return u - x @ (x.mT @ u)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """The Riemannian gradient is the horizontal part of the Euclidean one."""
        return self.proju(x, u)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """tr(uᵀ v); (...), or (..., 1, 1) with keepdim."""
        return (u * (u if v is None else v)).sum(dim=(-2, -1), keepdim=keepdim)

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """The polar factor of x + u, i.e. (x + u)(I + uᵀ u)^(-1/2), which also mends drift of x."""
        return polar(x + u)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """See `lorafold.geometry.maps.expmap`."""
        return expmap(x, u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """See `lorafold.geometry.maps.logmap`; one shortest vector where several exist."""
        return logmap(x, y)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """√(Σ θ²) over the principal angles; at x = y, where it has a kink, its gradient is finite."""
        squared = self.dist2(x, y, keepdim=keepdim)
        apart = squared > 0
        return torch.where(apart, squared, 1).sqrt() * apart

    def dist2(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Σ θ²; (...), or (..., 1, 1) with keepdim. Differentiable everywhere off the cut locus."""
        squared = squared_geodesic(x, y)
        return squared[..., None, None] if keepdim else squared

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Projection of v onto the tangent space at y, lifted to y, whichever frame of its span y is.

        The frame of span y nearest to x is y Oᵀ with O the polar factor of xᵀ y; a lift at it becomes one at y
        by right multiplication with O.
        """
        return self.proju(y, v @ polar(x.mT @ y))

    def retr_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """`retr` and `transp`; the retraction is the nearest frame to x already, so O = I."""
        y = self.retr(x, u)
        return y, self.proju(y, v)

    def transp_follow_retr(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """The transport of `retr_transp`."""
        return self.retr_transp(x, u, v)[1]

    def expmap_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """`expmap` and exact parallel transport along it."""
        return expmap_transport(x, u, v)

    def transp_follow_expmap(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Exact parallel transport along u."""
        return transport(x, u, v)

    def random(
        self, *size: int, dtype: torch.dtype | None = None, device: torch.device | None = None
    ) -> ManifoldTensor:
        """A uniform (Haar) random point: the Q factor of a Gaussian matrix."""
        self._assert_check_shape(size2shape(*size), "x")
        return ManifoldTensor(torch.linalg.qr(torch.randn(*size, dtype=dtype, device=device))[0], manifold=self)

    def origin(
        self,
        *size: int,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        seed: int | None = 42,
    ) -> ManifoldTensor:
        """The span of the first k unit vectors; `seed` is ignored."""
        n, k = size2shape(*size)[-2:]
        point = torch.eye(n, k, dtype=dtype, device=device).expand(*size).clone()
        return ManifoldTensor(point, manifold=self)


class GrassmannExact(Grassmann):
    """Gr(k, n) with Exp as its retraction and parallel transport along it."""

    reversible = True

    retr = Grassmann.expmap
    retr_transp = Grassmann.expmap_transp

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Parallel transport along the shortest geodesic from x to y, lifted to y, whichever frame of its span."""
        return transport(x, logmap(x, y), v) @ polar(x.mT @ y)

    def extra_repr(self) -> str:
        return "exact"
