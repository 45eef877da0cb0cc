"""Merged updates so small that float16 keeps little of them: their factors are subnormal numbers, or zeros."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping

import torch

from lorafold.adapters import Module

_log = logging.getLogger(__name__)
# The least positive float16, of which subnormal ones are multiples.
_STEP = 2.0**-24
# Relative change of an update worth saying; where no number is subnormal, rounding makes one of 3e-4.
_NOTICEABLE = 1e-2


def warn_of_underflow(modules: Collection[Module], norms: Mapping[str, float]) -> None:
    """Say how many updates float16 changes, by how much, and what helps.

    Args:
        modules: with factors U√S and √SVᵀ in the dtype to save.
        norms: ‖ΔW‖ by module name, before the rounding.
    """
    narrow = [module for module in modules if module.up.dtype == torch.float16 and norms[module.name] > 0]
    changes = {module.name: underflow(*module.shape, module.rank, norms[module.name]) for module in narrow}
    changed = {name: change for name, change in changes.items() if change > _NOTICEABLE}
    if changed:
        worst = max(changed, key=changed.__getitem__)
        _log.warning(
            "%d of %d modules have merged updates too small for float16, which changes them by up to %.2g %% "
            "(%s, of norm %.2g): use dtype=float32 or bfloat16",
            len(changed),
            len(modules),
            100 * changed[worst],
            worst,
            norms[worst],
        )


def underflow(m: int, n: int, rank: int, norm: float) -> float:
    """‖ΔW' - ΔW‖ / ‖ΔW‖ of an update (m, n) of some rank if all numbers of its factors become subnormal float16.

    Rounded to multiples of a step h, numbers are off by h / √12 on average. In U√S and √SVᵀ that makes a squared error
    of ΔW of (m + n) h² / 12 · ΣS, where ΣS <= √r ‖ΔW‖. Of numbers below h / 2 nothing is left.
    """
    return min(1.0, _STEP * math.sqrt((m + n) * math.sqrt(rank) / 12 / norm))
