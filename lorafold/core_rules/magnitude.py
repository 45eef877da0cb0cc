"""Magnitude pruning: the sum of the largest entries of each update."""

from __future__ import annotations

from torch import Tensor

from lorafold.core_rules._checks import check_density
from lorafold.core_rules._prune import trim
from lorafold.core_rules._registry import core_rule


@core_rule("magnitude", elementwise=True, check=check_density)
def magnitude(cores: Tensor, weights: Tensor, *, density: float) -> Tensor:
    """Σ w_i trim_d(C_i), trim_d keeping the fraction d of largest magnitude of each core.

    Source: PEFT, `magnitude_prune` (`peft.utils.merge_utils`), on ΔW there and on its core here.
    """
    return (weights[..., None, None] * trim(cores, density)).sum(1)
