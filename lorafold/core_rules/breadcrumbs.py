"""Model Breadcrumbs: neither the small entries nor the outliers."""

from __future__ import annotations

from torch import Tensor

from lorafold.common.errors import LorafoldError
from lorafold.core_rules._checks import check_density
from lorafold.core_rules._prune import count, largest
from lorafold.core_rules._registry import core_rule


def _check(*, density: float, gamma: float) -> None:
    check_density(density=density)
    if not 0 <= gamma < 1:
        raise LorafoldError(
            f"core.gamma={gamma!r}, expected a number >= 0 and below 1",
            remedy="It is the fraction of outliers that are dropped.",
        )


@core_rule("breadcrumbs", elementwise=True, check=_check)
def breadcrumbs(cores: Tensor, weights: Tensor, *, density: float, gamma: float) -> Tensor:
    """Σ w_i M_i ∘ C_i, M_i dropping the fraction γ of largest magnitude, then the smallest until d are left.

    Where γ + d > 1 fewer outliers are dropped, so that d is always kept.

    Source: Davari & Belilovsky, "Model Breadcrumbs", ECCV 2024, section 3; parameters as in mergekit.
    """
    entries = cores.shape[-2] * cores.shape[-1]
    kept = count(density, cores)
    outliers = min(int(gamma * entries), entries - kept)
    size = cores.abs()
    middle = largest(size, outliers + kept) & ~largest(size, outliers)
    return (weights[..., None, None] * cores * middle).sum(1)
