"""One monotone sweep: a better U for the given V, then a better V for that U.

b = modules, d = dimension of a side, J r = columns of the targets seen from it, r = rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.geometry import polar
from lorafold.objectives import Objective, Term

# The part of its mean diagonal that is added to a matrix to keep it definite.
_RIDGE = 1e-5


def sweep(objective: Objective, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """(U, V) with an objective no larger, in the gauge nearest to the old one."""
    left = _improve(objective.left, objective.seen_from_left(right), left)
    return left, _improve(objective.right, objective.transposed.seen_from_left(left), right)


def _improve(term: Term, projection: Tensor, frame: Tensor) -> Tensor:
    """A better X = frame (b, d, r) for F = term(X) - ‖projectionᵀX‖².

    Quadratic distances: F = constant - tr(XᵀKX), so the minimiser is the top eigenspace of K.
    Others: s‖X‖² - F is convex, so its linearisation at X is a minorant, which the polar factor of its gradient
    maximises over orthonormal frames; F cannot rise (minorise-maximise; Journée et al. 2010).
    """
    if term.form is None:
        gradient = term.evaluate(frame)[1] / 2 - projection @ (projection.mT @ frame)
        return _same_span(term.shift[:, None, None] * frame - gradient, frame)
    form = term.form + projection @ projection.mT
    top = top_eigenvectors(form, frame.shape[-1])
    return top @ polar(top.mT @ frame)


def _same_span(target: Tensor, frame: Tensor) -> Tensor:
    """An orthonormal frame of span G = target, near X = frame if XᵀG is positive definite, as it is in a descent.

    Division by XᵀG leaves the span and makes the matrix so well conditioned that its polar factor is cheap.
    """
    inner = frame.mT @ target
    size = inner.diagonal(dim1=-2, dim2=-1).abs().mean(-1)
    definite = (inner + inner.mT) / 2 + torch.diag_embed((_RIDGE * size)[:, None].expand(inner.shape[:-1]))
    L, info = torch.linalg.cholesky_ex(definite)
    divided = torch.cholesky_solve(target.mT, L).mT
    return polar(torch.where((info == 0)[:, None, None], divided, target))


def top_eigenvectors(form: Tensor, rank: int) -> Tensor:
    """The eigenvectors of the r largest eigenvalues of symmetric (b, d, d), in ascending order.  (b, d, r)"""
    return torch.linalg.eigh(form).eigenvectors[..., -rank:]
