"""What a merge of rank r lost, as an adapter: the weighted sum at the strength of the merge, less what was merged.

The reference is λ Σ wᵢ ΔWᵢ, with the adapters as they take part (cut by `truncate`, balanced), the weights of every
module, and the λ of the merge, given or chosen: what a merge of full rank at this strength would be. Less the factors
as they are written, so that merged + residual is the reference to the rounding of the residual alone.

m = out, n = in, R = sum of all ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lorafold.adapters import Adapter, Module
from lorafold.adapters.metadata.header import merged_metadata
from lorafold.common.errors import LorafoldError
from lorafold.core_rules import CoreRule
from lorafold.geometry.products import product_svd

# Of the reference's largest singular value: what float64 leaves of zero, and what rounding adds to a merge in float32.
_ROUNDING, _ROUNDING_OF_FLOAT32 = 1e-12, 1.2e-7
LINEAR = ("sum", "mean")


@dataclass(frozen=True, eq=False)
class Residual:
    """What was lost.

    Args:
        adapter: of the format and dtype of the merged one; without biases and other tensors, added exactly.
        share: ‖residual‖² / ‖reference‖² over all modules.
    """

    adapter: Adapter
    share: float


def check_residual(asked: bool, core: CoreRule, per_direction: bool) -> None:
    """Raise LorafoldError where the merge has no weighted sum to compare with."""
    if asked and core.name not in LINEAR:
        raise LorafoldError(
            f"residual=true, but core={core.name} makes something else of the adapters than a weighted sum",
            remedy="Leave out residual, or use core=sum or core=mean.",
        )
    if asked and per_direction:
        raise LorafoldError(
            "residual=true, but scale=svc has a strength for each direction", remedy="Use scale=1, or another one."
        )


def residual(
    merged: Adapter, adapters: Sequence[Adapter], weights: Sequence[float], coefficients: Mapping[str, Sequence[float]]
) -> Residual:
    """Reference less merged, in every module at the rank that is told from zero, at least 1.

    Args:
        merged: as it is written.
        adapters: as they took part.
        weights: wᵢ, for its metadata.
        coefficients: λ wᵢ by module.
    """
    differences = [_difference(module, adapters, coefficients[name]) for name, module in merged.modules.items()]
    lost, energy = (sum(getattr(each, part) for each in differences) for part in ("lost", "energy"))
    modules = {each.module.name: each.module for each in differences}
    ranks = [module.rank for module in modules.values()]
    config = {key: value for key, value in merged.config.items() if key != "trainable_token_indices"}
    whole: Mapping[str, object] = {"modules_to_save": None, "bias": "none"} if config else {}
    metadata = merged_metadata(adapters, weights, ranks)
    adapter = replace(merged, modules=modules, deltas={}, extras={}, metadata=metadata, config={**config, **whole})
    return Residual(adapter, lost / energy if energy else 0.0)


@dataclass(frozen=True, eq=False)
class _Difference:
    module: Module
    lost: float  # ‖residual‖²
    energy: float  # ‖reference‖²


def _difference(merged: Module, adapters: Sequence[Adapter], coefficients: Sequence[float]) -> _Difference:
    both = zip((adapter.modules.get(merged.name) for adapter in adapters), coefficients, strict=True)
    terms = [(module, weight * module.scale) for module, weight in both if module is not None and weight]
    _, reference, _ = _svd(terms, merged)
    U, S, V = _svd([*terms, (merged, -merged.scale)], merged)
    dtype = merged.up.dtype
    least = _ROUNDING_OF_FLOAT32 if dtype == torch.float32 else _ROUNDING
    rank = max(1, int((S > least * max(reference.amax(), S.amax())).sum()))
    root = S[:rank].sqrt()
    up, down = (U[:, :rank] * root).to(dtype), (V[:, :rank] * root).mT.to(dtype).contiguous()
    module = replace(merged, up=up.contiguous(), down=down, scale=1.0, bias=None)
    return _Difference(module, float(S[:rank].square().sum()), float(reference.square().sum()))


def _svd(terms: Iterable[tuple[Module, float]], like: Module) -> tuple[Tensor, Tensor, Tensor]:
    """U (m, R), S (R,), V (n, R) of a sum of updates; of zero, one direction."""
    m, n = like.shape
    pairs = [(weight * module.up.double(), module.down.double()) for module, weight in terms]
    pairs = pairs or [(torch.zeros(m, 1, dtype=torch.float64), torch.zeros(1, n, dtype=torch.float64))]
    return product_svd(torch.cat([up for up, _ in pairs], 1), torch.cat([down for _, down in pairs]))
