"""PEFT's pairs of factors for several parts of a layer, each with its own update: experts, and groups of outputs.

`target_parameters`: E experts, r = rank of each. `lora_A` (E r, in) stacks the experts, `lora_B` (m, r E) has column j
of expert e at j E + e. Convolutions of g groups: `lora_A` (r, in, *kernel) has all inputs, and `lora_B`
(m, r / g, 1, ...) gives the outputs of a group the r / g rows of `lora_A` that are its own. Here every part is a
module, "NAME#e", so that a merge treats it by itself. Source: PEFT 0.21, `tuners/lora/layer.py` (`ParamWrapper`,
`_ConvNd`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from lorafold.adapters.formats.fold_scale import of_one_rank
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
    """Modules as PEFT stores them, and the rank of each as PEFT counts it: parts of one layer together.

    Parts of lower rank than others get zeros; where their scales differ, other factors and scale 1.
    """
    layers: dict[str, list[Module]] = {}
    for name, module in modules.items():
        match = _EXPERT.fullmatch(name)
        layers.setdefault(match[1] if match else name, []).append(module)
    whole = {name: _stack(name, parts) for name, parts in layers.items()}
    ranks = {name: max(part.rank for part in parts) for name, parts in layers.items()}
    return whole, {name: len(m.down) if m.kind == "conv" else ranks[name] for name, m in whole.items()}


def _stack(name: str, parts: list[Module]) -> Module:
    """Experts as above; groups of a convolution's outputs one after the other, in both factors."""
    first, *others = of_one_rank(parts) if len(parts) > 1 or parts[0].name != name else parts
    if first.name == name:
        return first
    downs = torch.cat([part.down for part in (first, *others)])
    ups = [part.up for part in (first, *others)]
    up = torch.cat(ups) if first.kind == "conv" else torch.stack(ups, dim=-1).flatten(1)
    return replace(first, name=name, up=up, down=downs)


def in_layers(module: Module, rank: int) -> tuple[Tensor, Tensor]:
    """Up (E, m, r) and down (E, r, in) of what `stacked` returns, as MLX and llama.cpp store experts."""
    up, down = module.up.reshape(len(module.up), rank, -1), module.down.reshape(-1, rank, module.down.shape[1])
    return up.permute(2, 0, 1), down


def of_layers(name: str, up: Tensor, down: Tensor, scale: float) -> Module:
    """And back: what `experts` takes, with the rank of `down`."""
    return Module(name, up.permute(1, 2, 0).flatten(1), down.flatten(0, 1), scale)
