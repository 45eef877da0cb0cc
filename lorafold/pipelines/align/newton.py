"""The Newton direction of f(G exp E) = ‖X1 - X exp E‖² + ‖Y1 - Y exp(-E)ᵀ‖², X = X2 G and Y = Y2 G⁻ᵀ, at E = 0.

b = modules, R = core dimension, r = common width; X, Y (b, R, r), E (b, r, r).

With S = Xᵀ(X1 - X) and T = Yᵀ(Y1 - Y), half the negative gradient is S - Tᵀ, and half the Hessian
H[E] = (XᵀX) E + E (YᵀY) - (C Eᵀ + EᵀC)/2, C = S + Tᵀ. The first two terms alone, those of Gauss & Newton, make a
Sylvester equation, which the eigenvectors of two r x r matrices solve; the residuals of real pairs are large, so that
it serves as the preconditioner of conjugate gradients on the whole.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lorafold.core_space.balanced import Factors
from lorafold.geometry.eigen import eigh

_MAX_STEPS = 50  # of conjugate gradients
_FORCING = 1e-6  # of the squared residual, relative: what Newton's last steps can use

Operator = Callable[[Tensor], Tensor]


def half_descent(first: Factors, now: Factors) -> Tensor:
    """-½ the gradient, S - Tᵀ.  (b, r, r)"""
    S, T = _residuals(first, now)
    return S - T.mT


def newton_direction(first: Factors, now: Factors, damping: Tensor) -> tuple[Tensor, Tensor]:
    """E of (H + damping · largest curvature) E = S - Tᵀ, truncated at negative curvature and to norm 1.

    Args:
        first: X1 and Y1.
        now: X and Y.
        damping: (b,)

    Returns:
        E, and whether no negative curvature was met (b,).

    Source: Steihaug, SIAM J. Numer. Anal. 20 (1983), without the trust region.
    """
    S, T = _residuals(first, now)
    C = (S + T.mT) / 2
    up, down = now.up.mT @ now.up, now.down.mT @ now.down
    solve, shift = _sylvester(up, down, damping)

    def hessian(E: Tensor) -> Tensor:
        return up @ E + E @ down - C @ E.mT - E.mT @ C + shift * E

    E, convex = _conjugate_gradients(hessian, solve, S - T.mT)
    return E / torch.linalg.matrix_norm(E).clamp_min(1)[:, None, None], convex


def _residuals(first: Factors, now: Factors) -> tuple[Tensor, Tensor]:
    """S and T.  (b, r, r) each"""
    return now.up.mT @ (first.up - now.up), now.down.mT @ (first.down - now.down)


def _sylvester(up: Tensor, down: Tensor, damping: Tensor) -> tuple[Operator, Tensor]:
    """F ↦ E of up E + E down + shift E = F, and the shift (b, 1, 1)."""
    a, P = eigh(up)
    c, Q = eigh(down)
    curvature = (a[:, :, None] + c[:, None, :]).clamp_min(0)
    shift = damping[:, None, None] * curvature.amax((-2, -1), keepdim=True)
    damped = curvature + shift
    inverse = (damped > 0) / torch.where(damped > 0, damped, 1.0)
    return lambda F: P @ ((P.mT @ F @ Q) * inverse) @ Q.mT, shift


def _conjugate_gradients(hessian: Operator, solve: Operator, right_side: Tensor) -> tuple[Tensor, Tensor]:
    """Preconditioned; a module stops when it is solved, or before a direction of no curvature."""
    R, Z = right_side, solve(right_side)
    E, D, rho = torch.zeros_like(Z), Z, _inner(R, Z)
    gradient, enough, active = Z, _FORCING * rho, rho > 0
    convex = torch.ones_like(active)
    for _ in range(_MAX_STEPS):
        HD = hessian(D)
        curvature = _inner(D, HD)
        convex = convex & ((curvature > 0) | ~active)
        active = active & (curvature > 0)
        if not bool(active.any()):
            break
        length = torch.where(active, rho / torch.where(active, curvature, 1.0), 0.0)
        E, R = E + length * D, R - length * HD
        Z = solve(R)
        before, rho = rho, _inner(R, Z)
        active = active & (rho > enough)
        D = Z + torch.where(active, rho / torch.where(active, before, 1.0), 0.0) * D
    return torch.where(_inner(E, E) > 0, E, gradient), convex.flatten()


def _inner(X: Tensor, Y: Tensor) -> Tensor:
    """(b, 1, 1)"""
    return (X * Y).sum((-2, -1), keepdim=True)
