"""Fused projections trained in parts (sd-scripts' split_qkv): `lora_down.{i}.weight` and `lora_up.{i}.weight`.

Part i computes the i-th block of outputs, ΔW = [up_0 down_0; up_1 down_1; ...] alpha / r, of which
up = diag(up_0, up_1, ...) and down = [down_0; down_1; ...] are the exact factors. Source: sd-scripts,
`networks/lora_flux.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lorafold.adapters.files.factor_pair import LARGEST, check_complete, factor_pair
from lorafold.adapters.files.tensor_file import TensorFile
from lorafold.common.errors import LorafoldError


def split_pair(file: TensorFile, keys: Mapping[str, str]) -> tuple[Tensor, Tensor, int]:
    """Up (m, Σ r), down (Σ r, in), and r, the rank of each part, which alpha refers to.

    Raises:
        LorafoldError: parts that are missing or do not fit.
    """
    count = max(int(part.split(".")[1]) for part in keys if part.startswith("lora_")) + 1
    parts = [(f"lora_up.{i}.weight", f"lora_down.{i}.weight") for i in range(min(count, len(keys)))]
    check_complete(file, keys, [part for pair in parts for part in pair])
    pairs = [factor_pair(file, keys[up], keys[down]) for up, down in parts]
    ups, downs = [up for up, _ in pairs], [down for _, down in pairs]
    ranks, inputs = {len(down) for down in downs}, {down.shape[1:] for down in downs}
    m, width = sum(map(len, ups)), sum(map(len, downs))
    if len(ranks) > 1 or len(inputs) > 1 or downs[0].ndim > 2 or m * width > LARGEST:
        raise LorafoldError(
            f"parts of ranks {sorted(ranks)} for inputs of shapes {sorted(map(tuple, inputs))}, expected one of each",
            path=file.path,
            key=keys[parts[0][1]],
            remedy="Export the adapter with the trainer's conversion script.",
        )
    return torch.block_diag(*ups), torch.cat(downs), ranks.pop()  # type: ignore[no-untyped-call]
