"""Second moments of the inputs of a model's layers, with an adapter switched on, in little memory.

n = in (times the kernel's size for a convolution), k = directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.common.text import brief

DIRECTIONS_DTYPE = torch.float16


@dataclass(frozen=True)
class LayerStatistics:
    """C = E[x xᵀ] of a layer's inputs as its diagonal and its leading eigenpairs, and how large the update's output is.

    Layers that read the same input (the query, key and value of one attention) share these tensors.

    Args:
        diagonal: of C, (n,), float32, >= 0.
        directions: orthonormal eigenvectors of C, largest eigenvalue first (n, k). A file has them in float16, whose
            rounding moves less of C than the ridge of a merge.
        eigenvalues: theirs (k,), >= 0.
        tokens: how many vectors x were counted.
        energy: E‖ΔW x‖² of the adapter's update of this layer.
    """

    diagonal: Tensor  # (n,)
    directions: Tensor  # (n, k)
    eigenvalues: Tensor  # (k,)
    tokens: int
    energy: float

    __repr__ = brief


@dataclass(frozen=True)
class Statistics:
    """The statistics of one adapter on its own inputs.

    Args:
        layers: by the adapter's names of modules.
        adapter_hash: of the adapter, see `content_hash`.
        corpus_hash: SHA-256 of the inputs, which tells whether two adapters were given the same; never their text.
        base: the model that the adapter was switched on in, as the user named it.
        inputs: how many inputs (lines, prompts) were run.
    """

    layers: Mapping[str, LayerStatistics]
    adapter_hash: str
    corpus_hash: str
    base: str
    inputs: int
