"""Pending layers become pairs of factors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.module import Module, Pending
from lorafold.adapters.parametrisations.base_weights import BaseWeights, open_base
from lorafold.adapters.parametrisations.dora import fold_magnitude
from lorafold.common.errors import LorafoldError

_log = logging.getLogger(__name__)

# Below this share, what truncation loses is rounding.
_NOTHING = 1e-9


def resolve_pending(adapter: Adapter, path: Path, base: str | Path | BaseWeights | None, rank: int) -> Adapter:
    """The adapter with a module for every pending layer; those of full rank are cut to `rank`, with a warning.

    Args:
        path: of its file, for messages.
        base: weights of the model that it was trained on, a file or folder, or open; DoRA needs them.

    Raises:
        LorafoldError: DoRA and no base, or a base that does not fit.
    """
    if not adapter.pending:
        return adapter
    dora = [pending.key for pending in adapter.pending.values() if pending.magnitude is not None]
    if dora and base is None:
        raise LorafoldError(
            "this is DoRA, which cannot be merged without the base weights",
            path=path,
            key=dora[0],
            remedy="Name the model that it was trained on, a safetensors file or folder: base=PATH, where need be to "
            "`lorafold convert` first.",
        )
    weights = _opened(base) if dora and base is not None else None
    fan_in_fan_out = bool(adapter.config.get("fan_in_fan_out"))
    modules = {name: _settled(pending, weights, fan_in_fan_out, rank) for name, pending in adapter.pending.items()}
    warn_of_losses(path, list(modules.values()), rank)
    return replace(adapter, modules={**adapter.modules, **modules}, pending={})


def _opened(base: str | Path | BaseWeights) -> BaseWeights:
    return base if isinstance(base, BaseWeights) else open_base(base)


def warn_of_losses(path: Path | None, modules: Sequence[Module], rank: int) -> None:
    """Say how many layers lost energy by being cut to `rank`, and how much."""
    cut = [module for module in modules if module.lost > _NOTHING]
    if cut:
        worst = max(cut, key=lambda module: module.lost)
        _log.warning(
            "%s: %d of %d layers have updates of higher rank than input_rank=%d and were cut to it: they lose %.2g %% "
            "of their energy on average, at most %.2g %% (%s)",
            path,
            len(cut),
            len(modules),
            rank,
            100 * sum(module.lost for module in cut) / len(cut),
            100 * worst.lost,
            worst.name,
        )


def _settled(pending: Pending, weights: BaseWeights | None, fan_in_fan_out: bool, rank: int) -> Module:
    if pending.magnitude is None or weights is None:
        return pending.module(rank)
    exact = pending.module(None)
    transposed = exact.kind == "embedding" or (fan_in_fan_out and exact.kind == "linear")
    return fold_magnitude(exact, weights.matrix(exact, transposed), pending.magnitude, rank)
