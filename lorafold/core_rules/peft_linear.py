"""PEFT's `linear`: the factors are added, not the updates."""

from __future__ import annotations

from torch import Tensor

from lorafold.core_rules._factor_sums import added
from lorafold.core_rules._registry import Factors, core_rule


@core_rule("peft_linear", factors=True, equal_ranks=True)
def peft_linear(factors: Factors, weights: Tensor) -> Tensor:
    """(Σ √|w_is_i| B_i) (Σ sgn(w_is_i) √|w_is_i| A_i): for results made with PEFT to be compared with or repeated.

    Next to Σ w_iΔW_i it holds the cross terms B_iA_j, i ≠ j, so it depends on how each adapter splits its update into
    factors: it is not gauge-invariant. It is PEFT's result if the subspaces hold it, as those of rank=max do.

    Source: PEFT, `LoraModel.add_weighted_adapter`, combination_type="linear".
    """
    strength = weights * factors.scales
    root = strength.abs().sqrt()
    return added(factors, root, strength.sign() * root)
