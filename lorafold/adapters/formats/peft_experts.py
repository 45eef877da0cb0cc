"""PEFT's `target_parameters`: one pair of factors for all experts of a layer, each with its own update.

Shapes: E experts, r = rank of each. `lora_A` (E r, in) stacks the experts, `lora_B` (m, r E) has column j of expert e
at j E + e. Here every expert is a module, "NAME#e", so that a merge treats it by itself. Source: PEFT 0.21,
`tuners/lora/layer.py` (`ParamWrapper`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from lorafold.adapters.formats.fold_scale import padded
from lorafold.adapters.module import Module

_EXPERT = re.compile(r"(.+)#(\d+)")


def experts(module: Module, rank: int) -> Iterator[Module]:
    """The modules of the experts: of rank `rank` each."""
    count = module.rank // rank
    downs = module.down.reshape(count, rank, -1)
    ups = module.up.reshape(len(module.up), rank, count)
    for e in range(count):
        yield replace(module, name=f"{module.name}#{e}", up=ups[:, :, e], down=downs[e])


def stacked(modules: Mapping[str, Module]) -> tuple[dict[str, Module], dict[str, int]]:
    """Modules as PEFT stores them, and the rank of each as PEFT counts it: experts of one layer together.

    Experts of lower rank than others get zeros; of other scale than the first, other factors.
    """
    groups: dict[str, list[Module]] = {}
    for name, module in modules.items():
        match = _EXPERT.fullmatch(name)
        groups.setdefault(match[1] if match else name, []).append(module)
    ranks = {name: max(module.rank for module in group) for name, group in groups.items()}
    return {name: _stack(name, group, ranks[name]) for name, group in groups.items()}, ranks


def _stack(name: str, group: list[Module], rank: int) -> Module:
    first = group[0]
    if first.name == name:
        return first
    downs = torch.stack([padded(module.down, rank) for module in group])  # (E, r, in)
    ups = torch.stack([padded(_up(module, first).mT, rank).mT for module in group], dim=-1)  # (m, r, E)
    return replace(first, name=name, up=ups.flatten(1), down=downs.flatten(0, 1))


def _up(module: Module, first: Module) -> Tensor:
    return module.up if module.scale == first.scale else module.up * (module.scale / first.scale)


def in_layers(module: Module, rank: int) -> tuple[Tensor, Tensor]:
    """Up (E, m, r) and down (E, r, in) of what `stacked` returns, as MLX and llama.cpp store experts."""
    up, down = module.up.reshape(len(module.up), rank, -1), module.down.reshape(-1, rank, module.down.shape[1])
    return up.permute(2, 0, 1), down


def of_layers(name: str, up: Tensor, down: Tensor, scale: float) -> Module:
    """And back: what `experts` takes, with the rank of `down`."""
    return Module(name, up.permute(1, 2, 0).flatten(1), down.flatten(0, 1), scale)
