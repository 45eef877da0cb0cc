"""What results are compared with: formulas written out on dense float64 matrices, one module at a time.

m = out, n = in, r = rank, N = adapters; U (m, r), V (n, r), ΔW (m, n).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lorafold.adapters import Adapter, Module
from lorafold.core_space import Layer


def update(module: Module) -> Tensor:
    """ΔW = scale up down."""
    return module.scale * (module.up.double() @ module.down.double())


def updates(adapter: Adapter) -> dict[str, Tensor]:
    """ΔW of every module by name."""
    return {name: update(module) for name, module in adapter.modules.items()}


def layer_update(layer: Layer, adapter: int) -> Tensor:
    """ΔW_i = scale_i up_i down_i."""
    return layer.scales[adapter] * (layer.ups[adapter].double() @ layer.downs[adapter].double())


def relative(found: Tensor, expected: Tensor) -> float:
    """‖found - expected‖ / ‖expected‖, or ‖found‖ where nothing is expected."""
    size = float(torch.linalg.matrix_norm(expected))
    return float(torch.linalg.matrix_norm(found.double() - expected)) / (size or 1.0)


def numerical_rank(delta: Tensor, tolerance: float = 3e-7) -> int:
    """Singular values above the tolerance, relative to the largest."""
    return int(torch.linalg.matrix_rank(delta, rtol=tolerance)) if delta.abs().sum() > 0 else 0


def truncations(delta: Tensor, ranks: Sequence[int]) -> list[Tensor]:
    """The best approximations of these ranks (Eckart & Young): projections on the leading left singular vectors."""
    if delta.shape[0] > delta.shape[1]:
        return [best.T for best in truncations(delta.T, ranks)]
    vectors = torch.linalg.eigh(delta @ delta.T).eigenvectors.flip(1)
    return [vectors[:, :r] @ (vectors[:, :r].T @ delta) for r in ranks]


def angles(X: Tensor, Y: Tensor) -> Tensor:
    """Principal angles of two frames, ascending; sines and cosines each where they are accurate."""
    X, Y = sorted((X, Y), key=lambda frame: -frame.shape[1])
    cosines = torch.linalg.svdvals(X.T @ Y).clamp(max=1)
    sines = torch.linalg.svdvals(Y - X @ (X.T @ Y)).flip(0).clamp(max=1)
    return torch.where(cosines**2 < 0.5, torch.arccos(cosines), torch.arcsin(sines))


def largest_angle(X: Tensor, Y: Tensor) -> float:
    """Between the spans of two matrices of full column rank."""
    return float(angles(torch.linalg.qr(X.double())[0], torch.linalg.qr(Y.double())[0])[-1])


def projector(X: Tensor) -> Tensor:
    """Of a frame (..., n, k)."""
    return X @ X.mT


def points(delta: Tensor, directions: int | float | str) -> tuple[Tensor, Tensor]:
    """The leading left and right singular vectors that make an update's points."""
    Q, sigma, Rt = torch.linalg.svd(delta, full_matrices=False)
    k = numerical_rank(delta)
    if isinstance(directions, int):
        k = min(k, directions)
    elif k and isinstance(directions, float):
        shares = sigma.square().cumsum(0) / sigma.square().sum()
        k = min(k, next(count for count, share in enumerate(shares.tolist(), 1) if share >= directions))
    return Q[:, :k], Rt[:k].T


def scaled_distance(name: str, U: Tensor, X: Tensor) -> float:
    """δ by its definition through principal angles: 0 if contained, 1 if orthogonal and r <= k."""
    if X.shape[1] == 0:
        return 0.0
    theta, r = angles(U, X), U.shape[1]
    right = math.pi**2 / 4
    # the geometric mean of cos², floored; and power means in place of the largest angle and chord
    mean = float((((theta.cos() ** 2 + 0.01) / 1.01).log()).mean().exp())
    chord = 2 * (theta / 2).sin()
    return {
        "chordal": float(theta.sin().square().sum()) / r,
        "phi": float(theta.sin().square().sum()) / len(theta),
        "geodesic": float(theta.square().sum()) / (r * right),
        "procrustes": float((1 - theta.cos()).sum()) / r,
        "martin": -math.log(mean) / math.log(1.01 / 0.01),
        "binet_cauchy": (1 - mean) / (1 - 0.01 / 1.01),
        "fubini_study": (math.acos(min(1.0, math.sqrt(mean))) / math.acos(math.sqrt(0.01 / 1.01))) ** 2,
        "asimov": float(theta.pow(8).mean()) ** (1 / 4) / right,
        "spectral": float(chord.pow(8).mean()) ** (1 / 4) / 2,
    }[name]


def shares(deltas: Sequence[Tensor], weights: Sequence[float]) -> list[float]:
    """ŵ_i = |w_i| / Σ|w_i| over the updates that are not zero."""
    sizes = [abs(w) * bool(delta.abs().sum() > 0) for w, delta in zip(weights, deltas, strict=True)]
    return [size / (sum(sizes) or 1.0) for size in sizes]


def rescaled_shares(deltas: Sequence[Tensor], weights: Sequence[float], rescale: float) -> list[float]:
    """Of the loss Σ ŵ_i ‖X_i - UUᵀX_iVVᵀ‖² / Σ ŵ_i ‖X_i‖² with X_i = ΔW_i / ‖ΔW_i‖ (β‖ΔW_i‖ + (1-β) mean norm)."""
    sizes = [float(torch.linalg.matrix_norm(delta)) for delta in deltas]
    parts = shares(deltas, weights)
    mean = sum(share * size for share, size in zip(parts, sizes, strict=True))
    energies = [s * (rescale * size + (1 - rescale) * mean) ** 2 for s, size in zip(parts, sizes, strict=True)]
    return [energy / (sum(energies) or 1.0) for energy in energies]


def target(deltas: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """M = Σ w_i ΔW_i."""
    return torch.stack([w * delta for w, delta in zip(weights, deltas, strict=True)]).sum(0)


def loss(delta: Tensor, U: Tensor, V: Tensor) -> float:
    """‖ΔW - UUᵀΔWVVᵀ‖² / ‖ΔW‖²; 0 for a zero matrix."""
    size = float(delta.square().sum())
    return float((delta - projector(U) @ delta @ projector(V)).square().sum()) / size if size else 0.0


def objective(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    U: Tensor,
    V: Tensor,
    *,
    distance: str,
    reconstruction: str = "mean",
    rescale: float = 0.0,
    directions: int | float | str = "all",
    subspace_weight: float = 1.0,
    reconstruction_weight: float = 1.0,
) -> float:
    """F(U, V) as the method states it."""
    total = 0.0
    apparent = rescaled_shares(deltas, weights, rescale)
    for share, seen, delta in zip(shares(deltas, weights), apparent, deltas, strict=True):
        left, right = points(delta, directions)
        apart = scaled_distance(distance, U, left) + scaled_distance(distance, V, right)
        total += subspace_weight * share * apart / 2
        total += reconstruction_weight * seen * loss(delta, U, V) * (reconstruction == "each")
    return total + reconstruction_weight * loss(target(deltas, weights), U, V) * (reconstruction != "each")
