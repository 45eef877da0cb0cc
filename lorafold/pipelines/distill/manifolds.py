"""The manifolds of a student's subspaces, with a second moment of Adam for each column.

geoopt has one number per matrix. The columns are singular vectors at the start, and the gradient of one is about in
proportion to its singular value: one number for all would leave those of small singular values where they are.
"""

from __future__ import annotations

from typing import Any

from geoopt import EuclideanStiefel
from geoopt.manifolds.base import Manifold
from torch import Tensor

from lorafold.geometry.grassmann import Grassmann, GrassmannExact


class _ByColumn(Manifold):
    """Mixed in: directions that were scaled column by column are tangent only after a projection."""

    def component_inner(self, x: Tensor, u: Tensor, v: Tensor | None = None) -> Tensor:
        """⟨u_j, v_j⟩ of the columns (..., 1, k)."""
        return (u * (u if v is None else v)).sum(-2, keepdim=True)

    def retr_transp(self, x: Tensor, u: Tensor, v: Tensor) -> Any:
        """Of the manifold, along the tangent part of u."""
        return super().retr_transp(x, self.proju(x, u), v)


class ColumnGrassmann(_ByColumn, Grassmann):
    """Gr(k, n), in the frames that the parameters begin with."""


class ColumnGrassmannExact(_ByColumn, GrassmannExact):
    """The same with Exp as its retraction."""


class ColumnStiefel(_ByColumn, EuclideanStiefel):
    """St(k, n) with the Euclidean metric."""


COLUMN_MANIFOLDS: dict[str, type[Manifold]] = {
    "grassmann": ColumnGrassmann,
    "grassmann_exact": ColumnGrassmannExact,
    "stiefel": ColumnStiefel,
}
