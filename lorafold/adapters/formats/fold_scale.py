"""Scales moved into the factors and ranks made equal, for files that have no place for them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from lorafold.adapters.formats.diffusers_keys import BIAS, DOWN, UP
from lorafold.adapters.module import Module


def folded(module: Module) -> Module:
    """The same Delta W and bias with scale 1, in the dtypes of the module.

    scale = f 2^e with f in [1, 2): the power of two is shared between the factors so that their largest numbers come
    close, which costs no bit as long as nothing underflows; only f is rounded, once, and it is 1 for most alphas.
    """
    if module.scale == 1.0:
        return module
    half, exponent = math.frexp(module.scale)
    exponent -= 1
    down = round((exponent + _exponent(module.up) - _exponent(module.down)) / 2)
    down = min(max(down, min(exponent, 0)), max(exponent, 0))  # never one up and the other down
    return replace(
        module,
        up=times(module.up, math.ldexp(2 * half, exponent - down)),
        down=times(module.down, math.ldexp(1.0, down)),
        bias=None if module.bias is None else times(module.bias, module.scale),
        scale=1.0,
    )


def widened(module: Module, rank: int) -> Module:
    """The same update with factors of this rank, which is not lower: zeros for the rest."""
    if module.rank == rank:
        return module
    return replace(module, up=padded(module.up.mT, rank).mT.contiguous(), down=padded(module.down, rank))


def padded(factor: Tensor, rank: int) -> Tensor:
    """(r, ...) with rows of zeros up to `rank`."""
    return torch.cat([factor, factor.new_zeros(rank - len(factor), factor.shape[1])])


def of_one_rank(modules: Collection[Module]) -> list[Module]:
    """The same updates, all of the largest rank; of scale 1 unless all scales are equal."""
    rank, scales = max(module.rank for module in modules), {module.scale for module in modules}
    return [widened(module if len(scales) == 1 else folded(module), rank) for module in modules]


def unscaled_tensors(module: Module) -> Iterator[tuple[str, Tensor]]:
    """lora_A (r, in, *kernel), lora_B (m, r, 1, ...) and the bias of `folded`, by their names in the file."""
    plain, (m, n), r = folded(module), module.shape, module.rank
    yield f"{module.name}.{DOWN}", plain.down.reshape(r, n // math.prod(module.kernel), *module.kernel)
    yield f"{module.name}.{UP}", plain.up.reshape(m, r, *(1 for _ in module.kernel))
    if plain.bias is not None:
        yield f"{module.name}.{BIAS}", plain.bias


def _exponent(tensor: Tensor) -> int:
    """The least e with all |numbers| < 2^e, 0 for a zero tensor."""
    return math.frexp(max(abs(float(value)) for value in tensor.aminmax()))[1]


def times(tensor: Tensor, factor: float) -> Tensor:
    """The product in the tensor's dtype, rounded once."""
    return tensor if factor == 1.0 else (tensor.double() * factor).to(tensor.dtype)
