"""Differences of whole weights, `N.diff` (m, in, *kernel): where a merge needs factors, they become modules.

A merge adds whole differences up exactly, as tensors. That is wrong only for a layer that another adapter changes by
factors: tools that find both a pair and a difference for one layer apply one of them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.files.finite import check_tensors
from lorafold.adapters.module import Module
from lorafold.adapters.parametrisations.settle import warn_of_losses
from lorafold.adapters.parametrisations.truncation import truncate

_SUFFIX = ".diff"


def whole_layers(adapter: Adapter) -> list[str]:
    """The names of the layers whose weight, a matrix or kernel, changes as a whole."""
    whole = (key for key, delta in adapter.deltas.items() if key.endswith(_SUFFIX) and delta.ndim > 1)
    return [key.removesuffix(_SUFFIX) for key in whole]


def factor_full_differences(adapter: Adapter, names: Collection[str], rank: int) -> Adapter:
    """The adapter with these of its whole differences as modules: exact up to `rank`, else cut to it, with a warning.

    Raises:
        LorafoldError: NaN or Inf.
    """
    differences = {name: adapter.deltas[name + _SUFFIX] for name in names if name + _SUFFIX in adapter.deltas}
    if not differences:
        return adapter
    modules = {name: _module(adapter, name, delta, rank) for name, delta in differences.items()}
    warn_of_losses(adapter.path, list(modules.values()), rank)
    rest = {key: delta for key, delta in adapter.deltas.items() if key.removesuffix(_SUFFIX) not in differences}
    return replace(adapter, modules={**adapter.modules, **modules}, deltas=rest)


def _module(adapter: Adapter, name: str, delta: Tensor, rank: int) -> Module:
    check_tensors({name + _SUFFIX: delta}, adapter.path, "Training diverged; use an earlier checkpoint.")
    dtype, kernel = torch.promote_types(delta.dtype, torch.float32), tuple(delta.shape[2:])
    up, down, lost = truncate(delta.flatten(1).double(), rank)
    return Module(name, up.to(dtype), down.to(dtype), 1.0, kernel, kind="conv" if kernel else "linear", lost=lost)
