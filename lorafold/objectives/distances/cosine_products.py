"""The distances that are functions of Π cos²θ_j: Martin, Binet-Cauchy, Fubini-Study.

Between LoRA subspaces the product of a dozen cosines is 0 to many digits, so these distances saturate (at infinity or
at 1) and have no slope. Their usable form is per dimension: the geometric mean of cos², with a floor ε that keeps an
orthogonal direction from deciding alone. If all angles are equal, the form is the distance itself, for one of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lorafold.objectives.distances._angles import angle_and_ratio
from lorafold.objectives.distances._registry import distance

FLOOR = 0.01
_LOG_RANGE = math.log((1 + FLOOR) / FLOOR)


def _mean_log(cos: Tensor, real: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """L = Σ_j log((cos²θ_j + ε) / (1 + ε)) / min(r, k), and dL/dcos_j."""
    count = real.sum(-1, keepdim=True).clamp_min(1)
    floored = cos.square() + FLOOR
    log = (torch.log(floored / (1 + FLOOR)) * real).sum(-1) / count.squeeze(-1)
    return log, 2 * cos / floored / count


def _shift(shared: Tensor, rank: int) -> Tensor:
    """log(c² + ε) has second derivatives >= -1 / 4ε, at c² = 3ε: a bound for Martin, a guess for the other two."""
    return 1 / (8 * FLOOR * _LOG_RANGE * shared.clamp_min(1))


def _second(cos: Tensor, real: Tensor, rank: int) -> Tensor:
    """-(d²/dc²) log(c² + ε) per dimension."""
    count = real.sum(-1, keepdim=True).clamp_min(1)
    square = cos.square()
    return 2 * (square - FLOOR) / (square + FLOOR).square() / count / _LOG_RANGE


@distance("martin", shift=_shift, second=_second)
def martin(cos: Tensor, real: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """δ = -L / log((1 + ε)/ε): the squared Martin distance -log Π cos²θ_j per dimension, 1 where all are orthogonal.

    Martin 2000 (cepstral distance); De Cock & De Moor 2002.
    """
    log, slope = _mean_log(cos, real, rank)
    return -log / _LOG_RANGE, -slope / _LOG_RANGE


@distance("binet_cauchy", shift=_shift)
def binet_cauchy(cos: Tensor, real: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """δ = (1 - exp L) (1 + ε): the squared Binet-Cauchy distance 1 - Π cos²θ_j, with the geometric mean of the cos².

    Wolf & Shashua 2003; Hamm & Lee 2008, section 3.
    """
    log, slope = _mean_log(cos, real, rank)
    mean = torch.exp(log)
    return (1 - mean) * real.any(-1) * (1 + FLOOR), -slope * mean[..., None] * (1 + FLOOR)


@distance("fubini_study", shift=_shift)
def fubini_study(cos: Tensor, real: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """δ = (arccos exp(L/2) / arccos √(ε / (1 + ε)))²: Fubini-Study, with the geometric mean of the cosines.

    Edelman, Arias & Smith 1998, section 4.3.
    """
    log, slope = _mean_log(cos, real, rank)
    root = torch.exp(log / 2)
    angle, ratio = angle_and_ratio(root)
    scale = 1 / math.acos(math.sqrt(FLOOR / (1 + FLOOR))) ** 2
    return angle.square() * real.any(-1) * scale, (-ratio * root * scale)[..., None] * slope
