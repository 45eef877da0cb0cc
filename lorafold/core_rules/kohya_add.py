"""What merge_lora.py of sd-scripts makes of several LoRAs: the factors are added, each with the ratio."""

from __future__ import annotations

from torch import Tensor

from lorafold.core_rules._factor_sums import added
from lorafold.core_rules._registry import Factors, core_rule


@core_rule("kohya_add", factors=True, equal_ranks=True)
def kohya_add(factors: Factors, weights: Tensor) -> Tensor:
    """s_1 (Σ |w_i| √(α_i/α_1) B_i) (Σ w_i √(α_i/α_1) A_i) = (Σ |w_i| √s_i B_i) (Σ w_i √s_i A_i).

    The ratio w_i is on both factors, so adapter i comes out at w_i², apart from the cross terms B_iA_j, i ≠ j. These
    make it depend on how each adapter splits its update into factors: it is not gauge-invariant. It is the result of
    sd-scripts if the subspaces hold it, as those of rank=max do. A negative α, which sd-scripts cannot take, turns the
    sign of A_i.

    Source: kohya-ss/sd-scripts, networks/merge_lora.py, `merge_lora_models` without --concat.
    """
    root = factors.scales.abs().sqrt()
    return added(factors, weights.abs() * root, weights * factors.scales.sign() * root)
