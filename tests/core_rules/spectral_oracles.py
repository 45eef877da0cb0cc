"""The spectral rules as their papers state them, on full m x n updates in numpy float64, one module at a time.

T = adapters. Every oracle takes the updates [T matrices m x n] of the adapters that have the module, their weights
[T numbers] and the options, and returns an m x n matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize  # type: ignore[import-untyped]

Matrices = Sequence[np.ndarray]


def svd(X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Up to the numerical rank."""
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    rank = int((s > 3e-7 * s[0]).sum())
    return U[:, :rank], s[:rank], Vt[:rank]


def polar(X: np.ndarray) -> np.ndarray:
    """X (XᵀX)^(-1/2), by the eigenvalues of XᵀX; pseudo-inverse where columns are dependent."""
    values, Z = np.linalg.eigh(X.T @ X)
    good = values > 1e-12 * values.max()
    return X @ (Z[:, good] / np.sqrt(values[good])) @ Z[:, good].T


def weighted(updates: Matrices, weights: Sequence[float]) -> list[np.ndarray]:
    return [w * update for w, update in zip(weights, updates, strict=True)]


def slerp(updates, weights):
    first, second = (np.sign(w) * update for w, update in zip(weights, updates, strict=True))
    t = abs(weights[1]) / (abs(weights[0]) + abs(weights[1]))
    cosine = np.vdot(first, second) / np.sqrt(np.vdot(first, first) * np.vdot(second, second))
    if abs(cosine) > 0.9995:
        return (1 - t) * first + t * second
    theta = np.arccos(cosine)
    return (np.sin((1 - t) * theta) * first + np.sin(t * theta) * second) / np.sin(theta)


def karcher(updates, weights):
    """The minimum of Σ a_i arccos²⟨x, x_i⟩ found by BFGS over the coefficients of x in the x_i."""
    norms = np.array([np.linalg.norm(update) for update in updates])
    points = np.stack([np.sign(w) * u.ravel() for w, u in zip(weights, updates, strict=True)]) / norms[:, None]
    shares = np.abs(weights) / np.abs(weights).sum()

    def unit(coefficients):
        return (x := coefficients @ points) / np.linalg.norm(x)

    def spread(coefficients):
        return shares @ np.arccos(np.clip(points @ unit(coefficients), -1, 1)) ** 2

    found = minimize(spread, shares, method="BFGS", options={"gtol": 1e-9})
    return shares @ norms * unit(found.x).reshape(updates[0].shape)


def tsv(updates, weights, keep):
    parts = [svd(update) for update in weighted(updates, weights)]
    U, V = (polar(np.concatenate(side, 1)) for side in zip(*((U, Vt.T) for U, _, Vt in parts), strict=True))
    return U @ np.diag(np.concatenate([s for _, s, _ in parts])) @ V.T


def iso_c(updates, weights):
    U, s, Vt = svd(np.sum(weighted(updates, weights), 0))
    return s.mean() * U @ Vt


def iso_cts(updates, weights, common):
    """Algorithm 1 with the steps and roundings of the authors' code."""
    terms, T = weighted(updates, weights), len(updates)
    U, s, Vt = svd(np.sum(terms, 0))
    size = len(s)
    specific = min(round((size - int(size * common)) / T), size // T) * T  # which theirs may exceed
    shared, each = size - specific, specific // T
    sides = [(U[:, :shared], s[:shared], Vt[:shared])]
    for term in terms:
        own = svd(term - U[:, :shared] @ U[:, :shared].T @ term)
        sides.append((own[0][:, :each], own[1][:each], own[2][:each]))
    lefts, sigmas, rights = zip(*sides, strict=True)
    U, V = polar(np.concatenate(lefts, 1)), polar(np.concatenate(rights, 0).T)
    return np.concatenate(sigmas).mean() * U @ V.T


def cart(updates, weights, share, strength):
    shares = np.abs(weights) / np.abs(weights).sum()
    signed = weighted(updates, np.sign(weights))
    mean = sum(weighted(signed, shares))
    leading = []
    for update in signed:
        U, s, Vt = svd(update - mean)
        k = int(np.ceil(share * len(s) - 1e-9))
        leading.append(U[:, :k] @ np.diag(s[:k]) @ Vt[:k])
    departure = strength * len(updates) * sum(weighted(leading, shares))
    return np.abs(weights).sum() * (mean + departure)


def wudi(updates, weights, ridge):
    """As one least-squares problem for Wᵀ: rows X_i/‖X_i‖ with right sides X_iX_iᵀ/‖X_i‖, and the ridge."""
    terms, T, n = weighted(updates, weights), len(updates), updates[0].shape[1]
    rows = [term / np.linalg.norm(term) for term in terms] + [np.sqrt(ridge * T) * np.eye(n)]
    right = [term @ term.T / np.linalg.norm(term) for term in terms] + [np.sqrt(ridge * T) * np.sum(terms, 0).T]
    return np.linalg.lstsq(np.concatenate(rows), np.concatenate(right), rcond=None)[0].T


def pico(updates, weights):
    """Section 4 step by step, with B_i = U_iΣ_i of w_iΔW_i = U_iΣ_iV_iᵀ."""
    terms, T = weighted(updates, weights), len(updates)
    ups = [U * s for U, s, _ in map(svd, terms)]
    U, sigma, _ = np.linalg.svd(np.concatenate(ups, 1), full_matrices=False)
    alpha = 1 / (1 + (T - 1) * sigma**2 / (sigma**2).sum())
    S = np.eye(len(U)) + U @ np.diag(alpha - 1) @ U.T
    merged = sum(S @ term for term in terms)
    return merged * sum(np.linalg.norm(term) for term in terms) / np.linalg.norm(merged)


ORACLES: dict[str, Callable[..., np.ndarray]] = {
    "karcher": karcher,
    "tsv": tsv,
    "iso_c": iso_c,
    "iso_cts": iso_cts,
    "cart": cart,
    "wudi": wudi,
    "pico": pico,
}
