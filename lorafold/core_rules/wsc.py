"""Weight space calibration of MAGIC: the sum, each of its rows as strong as those of the adapters.

M = modules, m = out, n = in, N = adapters, R = min(n, Σ r_i).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lorafold.core_rules._registry import core_rule
from lorafold.core_rules._rows import rows_of
from lorafold.core_space import Layer

# Of Σ |w_i|‖a_i‖: what rounding leaves of rows that cancel.
_CANCELLED = 1e-12


@core_rule("wsc", whole=True, averages=True)
def wsc(layers: Sequence[Layer], weights: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Rows λd of rows d of Σ w_iΔW_i, 1/λ² = Σ_i α_i² + ‖d - Σ_i α_ia_i‖² / (mean ‖a_i‖)² and α_i = ⟨d, a_i⟩ / ‖a_i‖².

    a_i is that row of ΔW_i, of the adapters whose weight and a_i are not 0; how large d is does not count. The second
    term is what the adapters do not explain, for rows orthogonal to each other none: their sum comes out at the root
    mean square of them, if they are as long as each other. One adapter is itself; given twice it comes out at 1/√3.
    A row of small norm holds all others down, as the paper has it: balance=true brings norms together.

    Args:
        layers, weights: the adapters' factors, and w_i (M, N).

    Source: Li et al., "MAGIC: Achieving Superior Model Merging via Magnitude Calibration", arXiv:2512.19320, as their
    code over task arithmetic, without its choice of layers by validation data.
    """
    return [_merged(layer, own) for layer, own in zip(layers, weights, strict=True)]


def _merged(layer: Layer, weights: Tensor) -> tuple[Tensor, Tensor]:
    rows, Z = rows_of(layer, (weights != 0).double().tolist())  # (N, m, R)
    total = (weights[:, None, None] * rows).sum(0)
    norms = torch.linalg.vector_norm(rows, dim=-1)  # (N, m)
    terms = (weights.abs()[:, None] * norms).sum(0)
    total = total * (torch.linalg.vector_norm(total, dim=-1) > _CANCELLED * terms)[:, None]
    alpha = (rows * total).sum(-1) / torch.where(norms > 0, norms.square(), 1.0)
    outside = torch.linalg.vector_norm(total - (alpha[..., None] * rows).sum(0), dim=-1)
    mean = norms.sum(0) / (norms > 0).sum(0).clamp_min(1)
    size = (alpha.square().sum(0) + (outside / torch.where(mean > 0, mean, 1.0)).square()).sqrt()  # 1/λ
    return total / torch.where(size > 0, size, 1.0)[:, None], Z.mT
