"""Geometry of subspaces: tensors in, tensors out. Knows no adapters.

Imports torch, but not geoopt: `Grassmann` and `GrassmannExact` are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lorafold.geometry.angles import principal_angles
from lorafold.geometry.chance import benjamini_hochberg, expected_phi, holm, phi_p_value, phi_sd, phi_z_score
from lorafold.geometry.distances import DISTANCES, Completion, complete_angles, distance
from lorafold.geometry.frames import orthonormality_error, polar
from lorafold.geometry.geodesic_loss import squared_geodesic
from lorafold.geometry.maps import expmap, expmap_transport, geodesic_point, logmap, transport
from lorafold.geometry.means import ChordalMean, KarcherMean, chordal_mean, karcher_mean
from lorafold.geometry.overlap import phi, phi_grid

if TYPE_CHECKING:
    from lorafold.geometry.grassmann import Grassmann, GrassmannExact

__all__ = [
    "DISTANCES",
    "ChordalMean",
    "Completion",
    "Grassmann",
    "GrassmannExact",
    "KarcherMean",
    "benjamini_hochberg",
    "chordal_mean",
    "complete_angles",
    "distance",
    "expected_phi",
    "expmap",
    "expmap_transport",
    "geodesic_point",
    "holm",
    "karcher_mean",
    "logmap",
    "orthonormality_error",
    "phi",
    "phi_grid",
    "phi_p_value",
    "phi_sd",
    "phi_z_score",
    "polar",
    "principal_angles",
    "squared_geodesic",
    "transport",
]


def __getattr__(name: str) -> Any:
    if name in ("Grassmann", "GrassmannExact"):
        from lorafold.geometry import grassmann

        return getattr(grassmann, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
