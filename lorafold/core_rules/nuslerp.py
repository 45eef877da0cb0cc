"""NuSLERP: spherical interpolation of whole updates, or of their rows or columns one by one.

M = modules, m = out, n = in, R = min(n, r_1 + r_2).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lorafold.core_rules._checks import check_word
from lorafold.core_rules._registry import core_rule
from lorafold.core_rules._rows import rows_of, turned
from lorafold.core_rules.slerp import interpolated
from lorafold.core_space import Layer

_OF = ("matrix", "rows", "columns")
# Up to this sine the arc is a straight line, or undetermined.
_STRAIGHT = 1e-8


def _check(of: str) -> None:
    check_word("of", of, _OF)


@core_rule("nuslerp", whole=True, adapters=2, averages=True, check=_check)
def nuslerp(layers: Sequence[Layer], weights: Tensor, *, of: str) -> list[tuple[Tensor, Tensor]]:
    """The arc from x_1 to x_2 at t = |w_2| / (|w_1| + |w_2|), of all vectors x_i = sgn(w_i) (row, column of) ΔW_i.

    (sin((1-t)θ) x_1 + sin(tθ) x_2) / sin θ, θ being the angle between x_1 and x_2, and the straight line where sin θ is
    below 1e-8. A vector that one adapter lacks, or that is zero there, leaves the other's as it is. Of the matrix it is
    `slerp`, but for where that takes a line; an adapter's rank counts, so the result has rank r_1 + r_2 at most.

    Args:
        layers, weights: the adapters' factors, and w_i (M, 2).
        of: "matrix": whole updates as one vector each (mergekit: nuslerp_flatten); "rows": one for each output
            (without it); "columns": one for each input (nuslerp_row_wise).

    Source: mergekit's `nuslerp`, with the base model as the origin.
    """
    return [_merged(layer, own, of) for layer, own in zip(layers, weights, strict=True)]


def _merged(layer: Layer, weights: Tensor, of: str) -> tuple[Tensor, Tensor]:
    if of == "columns":
        up, down = _merged(turned(layer), weights, "rows")
        return down.mT, up.mT
    X, Z = rows_of(layer, weights.sign().tolist())
    vectors = X if of == "rows" else X.flatten(1)[:, None]  # (2, m or 1, R or m R)
    return interpolated(vectors.transpose(0, 1), weights.abs(), _STRAIGHT).view(X[0].shape), Z.mT
