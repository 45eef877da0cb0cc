"""Random statistics of adapters, with the dense second moments that they stand for."""

from __future__ import annotations

import torch
from torch import Tensor

from lorafold.adapters import Adapter
from lorafold.calibration import LayerStatistics, Statistics
from lorafold.calibration.content_hash import content_hash
from tests.builders import Source
from tests.oracles import update


def random_moment(source: Source, n: int, tokens: int = 60) -> Tensor:
    """E[x xᵀ] of vectors whose directions differ by a factor of 100."""
    X = source.normal(tokens, n) @ (torch.logspace(1, -1, n, dtype=torch.float64)[:, None] * source.haar(n, n))
    return X.mT @ X / tokens


def layer_statistics(C: Tensor, k: int, energy: float = 1.0) -> LayerStatistics:
    """The diagonal and the k leading eigenpairs of C (n, n)."""
    eigenvalues, Q = torch.linalg.eigh(C)
    leading = eigenvalues.flip(0)[:k].clamp_min(0)
    return LayerStatistics(C.diagonal().clone(), Q.flip(1)[:, :k].contiguous(), leading, 60, energy)


def kept_moment(C: Tensor, k: int) -> Tensor:
    """Of C what its diagonal and k eigenpairs say: exact where k = n."""
    eigenvalues, Q = torch.linalg.eigh(C)
    low = (Q[:, len(C) - k :] * eigenvalues[len(C) - k :].clamp_min(0)) @ Q[:, len(C) - k :].mT
    return low + torch.diag((C - low).diagonal().clamp_min(0))


def energy(delta: Tensor, C: Tensor) -> float:
    """E‖ΔW x‖²."""
    return float(torch.trace(delta @ C @ delta.mT))


def statistics(adapter: Adapter, moments: dict[str, Tensor], k: int, corpus: str = "corpus") -> Statistics:
    """Of an adapter whose layers read inputs of these second moments."""
    layers = {
        name: layer_statistics(C, min(k, len(C)), energy(update(adapter.modules[name]), C))
        for name, C in moments.items()
    }
    return Statistics(layers, content_hash(adapter), corpus, "base", 60)
