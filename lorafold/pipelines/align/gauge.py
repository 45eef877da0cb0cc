"""The gauge of one adapter that best matches the factors of another: orthogonal in closed form, general by iteration.

b = modules, R = core dimension, r = common width.

Both minimise f(G) = ‖X1 - X2 G‖² + ‖Y1 - Y2 G⁻ᵀ‖², X (b, R, r) the up and Y (b, R, r) the transposed down factors,
which leaves ΔW_2 = X2 Y2ᵀ as it is. Factors of lower rank are zero-padded, so that G is r x r for all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lorafold.common.batched import scatter_rows, select_rows
from lorafold.core_space.balanced import Factors
from lorafold.geometry.singular import svd, svdvals
from lorafold.pipelines.align.newton import half_descent, newton_direction

_TOLERANCE = 1e-8  # of the gradient, relative to the squared norms of the factors
_MAX_STEPS = 100
# Condition numbers beyond this would let float32 factors lose ΔW.
_MAX_CONDITION = 1e4
# Of the Newton system, relative to its curvature: to begin with and where that is negative, and at least.
_DAMPING, _LEAST = 1e-3, 1e-8
_HOPELESS = 1e12  # damping at which no step helps


@dataclass(frozen=True)
class Gauge:
    """G and its inverse, and what is known about them."""

    right: Tensor  # (b, r, r)  G
    left: Tensor  # (b, r, r)  G⁻¹
    mismatch: Tensor  # (b,)  f
    gradient: Tensor  # (b,)  ‖gradient of f‖ / (‖X‖² + ‖Y‖² of both adapters)
    steps: Tensor  # (b,)
    converged: Tensor  # (b,)

    @property
    def condition(self) -> Tensor:
        """‖G‖₂ ‖G⁻¹‖₂.  (b,)"""
        return svdvals(self.right)[:, 0] * svdvals(self.left)[:, 0]


def orthogonal_gauge(first: Factors, second: Factors) -> Gauge:
    """G in O(r): the polar factor of X2ᵀX1 + Y2ᵀY1, the global minimum.

    Where that matrix is singular, a minimiser is one of many: of an adapter that lacks the module it is I.

    Source: Schönemann, Psychometrika 31 (1966); here of the stacked matrices (X1; Y1) and (X2; Y2).
    """
    cross = second.up.mT @ first.up + second.down.mT @ first.down
    Q, _, Rt = svd(cross)
    identity = torch.eye(cross.shape[-1], dtype=cross.dtype, device=cross.device)
    G = torch.where(cross.square().sum((-2, -1), keepdim=True) > 0, Q @ Rt, identity)
    residual = _mismatch(first, second.times(G, G.mT))
    exact = torch.zeros_like(residual)
    return Gauge(G, G.mT, residual, exact, exact.to(torch.int64), torch.ones_like(exact, dtype=torch.bool))


def general_gauge(first: Factors, second: Factors) -> Gauge:
    """G in GL(r): from the orthogonal solution by damped Newton steps G ← G exp(E), never uphill.

    A step that does not lower f, or after which cond G > 10⁴, is tried again with more damping; what stops at that
    limit has not converged. f may have several local minima; this is one below the orthogonal solution.
    """
    state = _start(first, second)
    for _ in range(_MAX_STEPS):
        rows = (~state.done).nonzero().squeeze(-1)
        if len(rows) == 0:
            break
        state = scatter_rows(
            state, rows, _step(select_rows(first, rows), select_rows(second, rows), select_rows(state, rows))
        )
    return state.gauge


@dataclass(frozen=True)
class _State:
    gauge: Gauge
    damping: Tensor  # (b,)

    @property
    def done(self) -> Tensor:
        return self.gauge.converged | (self.damping >= _HOPELESS)


def _start(first: Factors, second: Factors) -> _State:
    gauge = orthogonal_gauge(first, second)
    relative = _relative_gradient(first, second, second.times(gauge.right, gauge.left))
    start = replace(gauge, gradient=relative, converged=relative <= _TOLERANCE)
    return _State(start, torch.full_like(relative, _DAMPING))


def _step(first: Factors, second: Factors, state: _State) -> _State:
    """One trial: taken where it lowers f, with more damping for the next one where not."""
    old = state.gauge
    E, convex = newton_direction(first, second.times(old.right, old.left), state.damping)
    right, left = old.right @ torch.linalg.matrix_exp(E), torch.linalg.matrix_exp(-E) @ old.left
    moved = second.times(right, left)
    mismatch, relative = _mismatch(first, moved), _relative_gradient(first, second, moved)
    trial = Gauge(right, left, mismatch, relative, old.steps, relative <= _TOLERANCE)
    taken = ((mismatch < old.mismatch) & (trial.condition <= _MAX_CONDITION)).nonzero().squeeze(-1)
    gauge = replace(scatter_rows(old, taken, select_rows(trial, taken)), steps=old.steps + 1)
    eased = torch.where(convex, state.damping / 10, 10 * state.damping).clamp(_LEAST, _DAMPING)
    damping = (10 * state.damping).index_copy(0, taken, eased[taken])
    return _State(gauge, damping)


def _relative_gradient(first: Factors, second: Factors, now: Factors) -> Tensor:
    factors = (first.up, first.down, second.up, second.down)
    size = torch.stack([factor.square().sum((-2, -1)) for factor in factors]).sum(0)
    return 2 * torch.linalg.matrix_norm(half_descent(first, now)) / torch.where(size > 0, size, 1.0)


def _mismatch(first: Factors, now: Factors) -> Tensor:
    """f.  (b,)"""
    return (first.up - now.up).square().sum((-2, -1)) + (first.down - now.down).square().sum((-2, -1))
