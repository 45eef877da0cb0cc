"""The rules for entries as their papers state them: one module, loops over entries, float64.

N = adapters, r = size; every oracle takes the updates [N matrices r x r], the weights [N numbers], noise (N, r, r) and
the options, and returns a matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Matrices = Sequence[np.ndarray]


def top(matrix: np.ndarray, keep: int) -> np.ndarray:
    """1 at the `keep` entries of largest magnitude, in reading order among equals."""
    places = sorted(np.ndindex(matrix.shape), key=lambda place: (-abs(matrix[place]), place))
    mask = np.zeros_like(matrix)
    for place in places[:keep]:
        mask[place] = 1
    return mask


def kept(matrix: np.ndarray, density: float) -> int:
    return max(1, int(density * matrix.size))


def total(updates: Matrices, weights: Sequence[float]) -> np.ndarray:
    return np.sum([w * update for w, update in zip(weights, updates, strict=True)], 0)


def elected_mean(updates: Matrices, weights: Sequence[float], elect: str) -> np.ndarray:
    """Steps 2 and 3 of TIES, entry by entry."""
    out = np.zeros_like(updates[0])
    for place in np.ndindex(out.shape):
        values = [float(update[place]) for update in updates]
        votes = [w * x for w, x in zip(weights, values, strict=True)] if elect == "weighted" else values
        if abs(sum(votes)) <= 1e-12 * sum(map(abs, votes)):
            continue
        agree = [i for i, vote in enumerate(votes) if np.sign(vote) == np.sign(sum(votes))]
        share = sum(abs(weights[i]) for i in agree) if elect == "weighted" else len(agree)
        out[place] = sum(weights[i] * values[i] for i in agree) / share
    return out


def magnitude(updates, weights, noise, density):
    return total([update * top(update, kept(update, density)) for update in updates], weights)


def ties(updates, weights, noise, density, elect):
    return elected_mean([update * top(update, kept(update, density)) for update in updates], weights, elect)


def dropped(update: np.ndarray, noise: np.ndarray, keep: np.ndarray) -> np.ndarray:
    return np.where(noise < keep, update, 0.0) / keep


def dare(updates, weights, noise, density):
    keep = np.full_like(updates[0], density)
    return total([dropped(update, u, keep) for update, u in zip(updates, noise, strict=True)], weights)


def dare_ties(updates, weights, noise, density, elect):
    keep = np.full_like(updates[0], density)
    return elected_mean([dropped(x, u, keep) for x, u in zip(updates, noise, strict=True)], weights, elect)


def della(updates, weights, noise, density, epsilon, elect):
    def keep(update: np.ndarray) -> np.ndarray:
        probability = np.zeros_like(update)
        for row in range(len(update)):
            for place, column in enumerate(np.argsort(abs(update[row]), kind="stable")):
                rank = place / (len(update) - 1) if len(update) > 1 else 0.5
                probability[row, column] = density - epsilon + 2 * epsilon * rank
        return probability

    return elected_mean([dropped(x, u, keep(x)) for x, u in zip(updates, noise, strict=True)], weights, elect)


def breadcrumbs(updates, weights, noise, density, gamma):
    def middle(update: np.ndarray) -> np.ndarray:
        count = kept(update, density)
        outliers = min(int(gamma * update.size), update.size - count)
        return update * (top(update, outliers + count) - top(update, outliers))

    return total([middle(update) for update in updates], weights)


def sce(updates, weights, noise, density):
    """With weights: |w_i| copies of sgn(w_i) C_i, in the paper's formula without weights."""
    size = [abs(w) for w in weights]
    signed = [np.sign(w) * update for w, update in zip(weights, updates, strict=True)]
    if not sum(size):
        return np.zeros_like(updates[0])
    mean = total(signed, size) / sum(size)
    variance = total([(x - mean) ** 2 for x in signed], size) / sum(size)
    if variance.sum() > 1e-24 * total([x**2 for x in signed], size).sum():
        signed = [x * top(variance, kept(variance, density)) for x in signed]
    eta = [s * float((x**2).sum()) for s, x in zip(size, signed, strict=True)]
    out = np.zeros_like(mean)
    for place in np.ndindex(out.shape):
        votes = [s * x[place] for s, x in zip(size, signed, strict=True)]
        agree = [i for i, vote in enumerate(votes) if vote and np.sign(vote) == np.sign(sum(votes))]
        if abs(sum(votes)) > 1e-12 * sum(map(abs, votes)):
            out[place] = sum(eta[i] * signed[i][place] for i in agree) / sum(eta[i] for i in agree)
    return out


ORACLES: dict[str, Callable[..., np.ndarray]] = {
    rule.__name__: rule for rule in (magnitude, ties, dare, dare_ties, della, breadcrumbs, sce)
}
