"""The rules for whole layers as their authors' codes have them, on full matrices in numpy float64.

N = adapters; every oracle takes the updates [N mappings of a module's name to its m x n matrix], the weights [N
numbers] and the options, and returns such a mapping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tests.core_rules.entry_oracles import elected_mean

Updates = Sequence[Mapping[str, np.ndarray]]


def names(updates: Updates) -> list[str]:
    return list(dict.fromkeys(name for update in updates for name in update))


def knots_ties(updates: Updates, weights: Sequence[float], density: float, elect: str = "weighted"):
    """SVD of the updates side by side; the largest entries of a task, over all its layers; sign and mean; back."""
    present = [update if weight else {} for update, weight in zip(updates, weights, strict=True)]
    frames: dict[str, np.ndarray] = {}
    parts: list[dict[str, np.ndarray]] = [{} for _ in updates]
    for name in names(present):
        U, s, _ = np.linalg.svd(np.concatenate([own[name] for own in present if name in own], 1), full_matrices=False)
        frames[name] = U[:, s > 1e-5 * s[0]]
        for part, own in zip(parts, present, strict=True):
            if name in own:
                part[name] = frames[name].T @ own[name]
    for part in parts:
        sizes = np.sort(np.concatenate([np.zeros(0), *(abs(X).ravel() for X in part.values())]))
        part.update({name: X * (abs(X) >= sizes[-max(1, int(density * len(sizes)))]) for name, X in part.items()})
    merged = {}
    for name, U in frames.items():
        shape = next(part[name].shape for part in parts if name in part)
        merged[name] = U @ elected_mean([part.get(name, np.zeros(shape)) for part in parts], weights, elect)
    return merged
