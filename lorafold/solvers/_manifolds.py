"""The geoopt manifolds on which U and V may live, by name; geoopt is imported only when one is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorafold.common.errors import LorafoldError

if TYPE_CHECKING:
    from geoopt.manifolds.base import Manifold

MANIFOLDS = ("grassmann", "grassmann_exact", "stiefel")


def manifold(name: str) -> Manifold:
    """The manifold of that name.

    For "stiefel" the Euclidean metric is taken: the objectives do not change under U -> UQ, so its gradients are
    those of the Grassmann manifold, and no p x p system is solved per step, as the canonical metric needs.
    """
    if name not in MANIFOLDS:
        raise LorafoldError(f"unknown manifold {name!r}", remedy=f"Choose one of {', '.join(MANIFOLDS)}.")
    if name == "stiefel":
        from geoopt import EuclideanStiefel

        return EuclideanStiefel()
    from lorafold.geometry.grassmann import Grassmann, GrassmannExact

    return Grassmann() if name == "grassmann" else GrassmannExact()
