"""Checked factors of one module, for every format that stores a pair of them.

Shapes: m = out, n = in * prod(kernel), r = rank, d = number of kernel axes (0 for a linear layer).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from lorafold.adapters.files.tensor_file import TensorFile
from lorafold.common.errors import LorafoldError

_FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
# Whose numbers bfloat16 holds exactly. Where they are scaled, the scales are tensors beside them.
_FLOAT8 = frozenset({torch.float8_e4m3fn, torch.float8_e5m2})
# Numbers in one tensor computed from those of a file, as many as a layer of 16384 x 16384 has: small factors can claim
# products of any size.
LARGEST = 2**28
# Of a rank that is larger than the layer: what is computed from a pair of factors grows with its square.
_MOST_RANK = 1024
_EXPORT_AGAIN = "The file is damaged or incomplete: download or export it again."


def floating(file: TensorFile, key: str, *, float8: bool = True) -> Tensor:
    """The tensor `key`, which must be a non-empty float16, bfloat16, float32 or float64 one.

    Args:
        float8: whether it may be one of 8 bits, which becomes bfloat16.
    """
    tensor = file.tensors[key]
    if float8 and tensor.dtype in _FLOAT8:
        tensor = tensor.to(torch.bfloat16)
    if tensor.dtype not in _FLOATS:
        raise LorafoldError(
            f"dtype {tensor.dtype}, expected float16, bfloat16, float32 or float64",
            path=file.path,
            key=key,
            remedy="Export the adapter without quantisation.",
        )
    if tensor.numel() == 0:
        raise LorafoldError(
            f"empty, shape {tuple(tensor.shape)}",
            path=file.path,
            key=key,
            remedy="Export it again; sharded training must gather its weights first.",
        )
    return tensor


def check_complete(file: TensorFile, keys: Mapping[str, str], parts: Collection[str]) -> None:
    """Raise LorafoldError unless a module, `keys` by part, has all of `parts`."""
    missing = [part for part in parts if part not in keys]
    if missing:
        raise LorafoldError(
            f"there is no {' and no '.join(missing)} of the same module",
            path=file.path,
            key=next(iter(keys.values())),
            remedy=_EXPORT_AGAIN,
        )


def factor_pair(file: TensorFile, up_key: str, down_key: str) -> tuple[Tensor, Tensor]:
    """Up (m, r), flattened, and down (r, in, *kernel) as in the file.

    Raises:
        LorafoldError: a dtype or shape that no LoRA factor has, or ranks that differ.
    """
    up, down = _factor(file, up_key), _factor(file, down_key)
    if any(size != 1 for size in up.shape[2:]):
        raise LorafoldError(
            f"shape {tuple(up.shape)}, expected ones after the first two axes",
            path=file.path,
            key=up_key,
            remedy="Only the down factor of a convolution may have a kernel; merge the other layers.",
        )
    up = up.flatten(1)
    _check_ranks(file, up_key, down_key, up, down.flatten(1))
    return up, down


def groups(file: TensorFile, up_key: str | None, down_key: str | None) -> int:
    """How many groups of outputs the up factor of a convolution has; 0 where it has none."""
    if up_key is None or down_key is None:
        return 0
    up, down = file.tensors[up_key], file.tensors[down_key]
    if not (2 < down.ndim == up.ndim <= 5) or 0 in (*up.shape, *down.shape) or any(size != 1 for size in up.shape[2:]):
        return 0
    count, rest = divmod(down.shape[0], up.shape[1])
    return count if count > 1 and not rest and up.shape[0] % count == 0 and down.shape[0] <= _MOST_RANK else 0


def linear_pair(file: TensorFile, up_key: str, down_key: str, turned: Collection[str] = ()) -> tuple[Tensor, Tensor]:
    """Up (m, r) and down (r, n); or (E, m, r) and (E, r, n) of the experts of a layer.

    Args:
        turned: those of the keys whose tensor is stored transposed.

    Raises:
        LorafoldError: a dtype or shape that no such factor has, or ranks that differ.
    """
    up, down = floating(file, up_key), floating(file, down_key)
    if up.ndim not in (2, 3) or up.ndim != down.ndim or up.shape[:-2] != down.shape[:-2]:
        raise LorafoldError(
            f"shape {tuple(up.shape)} with {down_key} of shape {tuple(down.shape)}, expected two matrices",
            path=file.path,
            key=up_key,
            remedy=_EXPORT_AGAIN,
        )
    up, down = (factor.mT if key in turned else factor for factor, key in ((up, up_key), (down, down_key)))
    _check_ranks(file, up_key, down_key, up, down)
    return up, down


def _check_ranks(file: TensorFile, up_key: str, down_key: str, up: Tensor, down: Tensor) -> None:
    (m, rank), (r, n) = up.shape[-2:], down.shape[-2:]
    if rank != r:
        raise LorafoldError(
            f"rank {rank} (shape {tuple(up.shape)}), but {down_key} has rank {r}",
            path=file.path,
            key=up_key,
            remedy=_EXPORT_AGAIN,
        )
    if rank > max(_MOST_RANK, min(m, n)):
        raise LorafoldError(
            f"rank {rank} of a layer of {m} x {n}, expected at most {_MOST_RANK}",
            path=file.path,
            key=up_key,
            remedy=_EXPORT_AGAIN,
        )


def contract_tucker(file: TensorFile, mid_key: str, down: Tensor) -> Tensor:
    """Down of a Tucker-decomposed convolution: A[a,i,k] = sum_b mid[a,b,k] down[b,i]; exact, of the same rank.

    Args:
        file: where `mid_key`, (r, r, *kernel), is.
        mid_key: the core of the decomposition (LyCORIS `lora_mid`).
        down: (r, in, 1, ...).

    Returns:
        (r, in, *kernel), float32 or wider.
    """
    mid, rank = _factor(file, mid_key), down.shape[0]
    size = rank * down.shape[1] * math.prod(mid.shape[2:])
    if mid.shape[:2] != (rank, rank) or any(size != 1 for size in down.shape[2:]) or size > LARGEST:
        raise LorafoldError(
            f"shape {tuple(mid.shape)} does not fit a down factor of shape {tuple(down.shape)}",
            path=file.path,
            key=mid_key,
            remedy=_EXPORT_AGAIN,
        )
    dtype = torch.promote_types(torch.promote_types(mid.dtype, down.dtype), torch.float32)
    full = torch.einsum("abk,bi->aik", mid.flatten(2).to(dtype), down.flatten(1).to(dtype))
    return full.reshape(rank, down.shape[1], *mid.shape[2:])


def alpha_value(file: TensorFile, key: str) -> float:
    """One finite number of any real dtype: some trainers store the integer that they were given."""
    tensor = file.tensors[key]
    value = tensor.item() if tensor.numel() == 1 and not tensor.is_complex() else math.nan
    if not math.isfinite(value):
        raise LorafoldError(
            f"alpha {tensor.flatten()[:3].tolist()} of shape {tuple(tensor.shape)}, expected one finite number",
            path=file.path,
            key=key,
            remedy="The file is damaged: download or export it again.",
        )
    return float(value)


def bias_vector(file: TensorFile, key: str | None, m: int) -> Tensor | None:
    """The tensor `key` of shape (m,), if there is one."""
    if key is None:
        return None
    bias = floating(file, key)
    if bias.shape != (m,):
        raise LorafoldError(
            f"shape {tuple(bias.shape)}, expected ({m},)",
            path=file.path,
            key=key,
            remedy="The file is damaged: download or export it again.",
        )
    return bias


def _factor(file: TensorFile, key: str) -> Tensor:
    """A floating tensor of two axes, or up to three kernel axes more."""
    tensor = floating(file, key)
    if not 2 <= tensor.ndim <= 5:
        raise LorafoldError(
            f"shape {tuple(tensor.shape)}, expected 2 to 5 axes", path=file.path, key=key, remedy=_EXPORT_AGAIN
        )
    return tensor
