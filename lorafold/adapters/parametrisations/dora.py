"""DoRA: an update with magnitudes of its own for the rows or columns of the weight.

Shapes: m = out, n = in * K, K = prod(kernel), k = rank.

W' = g ∘ (W + ΔW) with g = magnitude / ‖W + ΔW‖, the norm over each output (PEFT; LyCORIS with wd_on_out) or over each
input (LyCORIS without). As an update of W it is g ∘ ΔW + (g - 1) ∘ W, of full rank in general: the first part has the
rank of ΔW, the second that of W. What is merged is the truncated SVD of both together. Liu et al., DoRA, 2024, eq. 5.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from lorafold.adapters.files.factor_pair import floating
from lorafold.adapters.files.tensor_file import TensorFile
from lorafold.adapters.module import Module
from lorafold.adapters.parametrisations.truncation import truncate
from lorafold.common.errors import LorafoldError


def fold_magnitude(module: Module, weight: Tensor, magnitude: Tensor, rank: int) -> Module:
    """The module whose update is W' - W, cut to `rank`.

    Args:
        module: ΔW, exact.
        weight: W (m, n), any dtype.
        magnitude: (m, 1) or (1, in).
    """
    dtype = torch.promote_types(module.up.dtype, torch.float32)
    up, down, lost = truncate(dora_update(module, weight.double(), magnitude.double()), rank)
    return replace(module, up=up.to(dtype), down=down.to(dtype), scale=1.0, bias=_bias(module), lost=lost)


def dora_update(module: Module, weight: Tensor, magnitude: Tensor) -> Tensor:
    """W' - W (m, n), exactly; the arguments are those of `fold_magnitude`, in float64."""
    changed = torch.addmm(weight, module.up.double(), module.down.double(), alpha=module.scale)
    blocks = changed.view(len(changed), -1, math.prod(module.kernel))  # (m, in, K)
    per_output = magnitude.shape[1] == 1 and magnitude.shape[0] == len(changed)
    norm = torch.linalg.vector_norm(blocks, dim=(1, 2) if per_output else (0, 2), keepdim=True)
    gain = torch.where(norm > 0, magnitude[..., None] / norm, 0.0)  # a row of zeros has no direction
    return (gain * blocks).view_as(changed) - weight


def _bias(module: Module) -> Tensor | None:
    """The LoRA bias for scale 1."""
    return None if module.bias is None else (module.scale * module.bias.double()).to(module.bias.dtype)


def lycoris_magnitude(
    file: TensorFile, key: str | None, shape: tuple[int, int], kernel: tuple[int, ...]
) -> Tensor | None:
    """The tensor `key`, if there is one, (m, 1, ...) or (1, in, 1, ...), as (m, 1) or (1, in)."""
    if key is None:
        return None
    stored, m, inputs = floating(file, key), shape[0], shape[1] // math.prod(kernel)
    if stored.ndim and stored.numel() == stored.shape[0] == m:
        return stored.reshape(m, 1)
    if stored.ndim > 1 and stored.numel() == stored.shape[1] == inputs:
        return stored.reshape(1, inputs)
    raise _misshapen(file, key, f"({m}, 1, ...) or (1, {inputs}, ...)")


def peft_magnitude(file: TensorFile, key: str | None, m: int) -> Tensor | None:
    """The tensor `key`, if there is one, (m,) or (1, m, 1, ...), as (m, 1)."""
    if key is None:
        return None
    stored = floating(file, key)
    if stored.numel() != m or m not in stored.shape[:2]:
        raise _misshapen(file, key, f"({m},) or (1, {m}, 1, ...)")
    return stored.reshape(m, 1)


def _misshapen(file: TensorFile, key: str, expected: str) -> LorafoldError:
    return LorafoldError(
        f"DoRA's magnitudes of shape {tuple(file.tensors[key].shape)}, expected {expected}",
        path=file.path,
        key=key,
        remedy="The file is damaged: download or export it again.",
    )
