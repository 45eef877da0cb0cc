"""From merged subspaces to the merged core: what a core rule is given, and the gauge in which it works.

b = modules, N = adapters, R = core dimension, r = rank, K = largest slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from lorafold.common.errors import LorafoldError
from lorafold.common.seeds import generator_of
from lorafold.core_rules import CoreRule, Factors
from lorafold.core_space import CoreBatch, Layer
from lorafold.geometry.eigen import eigh


def combine(
    rule: CoreRule, batch: CoreBatch, left: Tensor, right: Tensor, cores: Tensor, emphasis: Tensor, seed: int
) -> Tensor:
    """The rule's r x r matrix C in the subspaces spanned by U and V: ΔW_3 = U C Vᵀ.  (b, r, r)

    Args:
        batch: the reduced layers, with the weights.
        left, right: U and V (b, R, r).
        cores: UᵀΔW_iV (b, N, r, r).
        emphasis: how much each of them counts for the gauge (b, N), as it did for the subspaces.
        seed: of random rules.
    """
    weights = batch.problem.weights
    names = [layer.name for layer in batch.layers]
    inputs = {"noise": noise(names, cores.shape[1:], seed).to(cores.device)} if rule.random else {}
    if not rule.elementwise:
        return rule(factors(batch, left, right) if rule.factors else cores, weights, **inputs)
    P, Q = canonical_gauge(cores * (emphasis * (weights != 0))[..., None, None])
    turned = factors(batch, left @ P, right @ Q) if rule.factors else P.mT[:, None] @ cores @ Q[:, None]
    return P @ rule(turned, weights, **inputs) @ Q.mT


def canonical_gauge(cores: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations P, Q after which Σ_i C_iC_iᵀ and Σ_i C_iᵀC_i are diagonal and descending.  (b, r, r) twice

    The factor matrices of the higher-order SVD: they turn with the bases of the subspaces, so that PᵀC_iQ does not
    depend on those, up to signs (and up to rotations where eigenvalues coincide), which no rule for entries heeds.
    The largest component of each column is made positive.

    Source: De Lathauwer, De Moor & Vandewalle, "A multilinear singular value decomposition", SIAM J. Matrix Anal.
    Appl. 21 (2000), theorem 2.
    """
    return _axes((cores @ cores.mT).sum(1)), _axes((cores.mT @ cores).sum(1))


def _axes(gram: Tensor) -> Tensor:
    Z = eigh(gram).vectors.flip(-1)
    largest = Z.gather(-2, Z.abs().argmax(-2, keepdim=True))
    return Z * torch.where(largest < 0, -1.0, 1.0)


def factors(batch: CoreBatch, left: Tensor, right: Tensor) -> Factors:
    """The adapters' factors in the subspaces spanned by U (b, R, r) and V (b, R, r)."""
    device = left.device
    return Factors(
        ups=_slots(left.mT @ batch.left.coords, batch.slots),
        downs=_slots(right.mT @ torch.cat(batch.downs, -1), batch.slots).mT,
        scales=torch.tensor([layer.scales for layer in batch.layers], dtype=left.dtype, device=device),
        ranks=torch.tensor([layer.ranks for layer in batch.layers], device=device),
    )


def _slots(wide: Tensor, slots: Sequence[int]) -> Tensor:
    """(b, r, R) -> (b, N, r, K), zero-padded."""
    parts = torch.split(wide, list(slots), dim=-1)
    return torch.stack([pad(part, (0, max(slots) - part.shape[-1])) for part in parts], 1)


def noise(names: Iterable[str], shape: Sequence[int], seed: int) -> Tensor:
    """Uniform numbers in [0, 1) of a shape (N, r, r) for each module, from the seed and its name.  (b, N, r, r)"""

    def draw(name: str) -> Tensor:
        return torch.rand(*shape, generator=generator_of(seed, name), dtype=torch.float64)

    return torch.stack([draw(name) for name in names])


def check_ranks(rule: CoreRule, layers: Iterable[Layer]) -> None:
    """Raise LorafoldError where a rule needs equal ranks and finds others."""
    for layer in layers:
        found = [rank for rank in layer.ranks if rank]
        if rule.equal_ranks and len(set(found)) > 1:
            raise LorafoldError(
                f"ranks {', '.join(map(str, layer.ranks))}, but core={rule.name} adds factors of equal rank",
                key=layer.name,
                remedy="Use core=sum, which merges any ranks.",
            )
