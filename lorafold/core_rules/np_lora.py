"""NP-LoRA: a subject without what it would write into the directions of a style.

b = modules, N = adapters = 2, r = rank of the merged subspaces.
"""

from __future__ import annotations

import math

from torch import Tensor

from lorafold.common.errors import LorafoldError
from lorafold.core_rules._registry import core_rule
from lorafold.core_rules._spectral import spectrum


def _check(mu: float) -> None:
    if not mu >= 0:
        raise LorafoldError(f"core.mu={mu}, expected a number >= 0", remedy="0: their sum; inf: nothing is left.")


@core_rule("np_lora", adapters=2, check=_check)
def np_lora(cores: Tensor, weights: Tensor, *, mu: float) -> Tensor:
    """X_1 (I - μ/(1+μ) VVᵀ) + X_2 with X_i = w_iC_i and V the right singular vectors of X_2: of subject and style.

    The first adapter is the subject, the second the style: order counts. X_1 (I - μ/(1+μ) VVᵀ) minimises
    ‖X - X_1‖² + μ‖XV‖² over X. The style stays as it is, at mu=0 as part of the sum, and for mu=inf the subject has
    nothing left on the inputs that the style reads; so a subject given as its own style too is gone then. Without one
    of them the other is itself. It is exact where the subspaces hold everything, as those of core_rank=max do.

    Args:
        cores, weights: C_i (b, 2, r, r) and w_i (b, 2).
        mu: >= 0.

    Source: Chen et al., "NP-LoRA: Null Space Projection Unifies Subject and Style in LoRA Fusion", arXiv:2511.11051,
    after its equations, with all directions of the style; the authors' code and their μ could not be had.
    """
    subject, style = (weights[..., None, None] * cores).unbind(1)
    V = spectrum(style).right
    taken = 1.0 if math.isinf(mu) else mu / (1 + mu)
    return style + subject - taken * (subject @ V) @ V.mT
