"""Two adapters side by side over all modules: what the batches found, as arrays in the order of the modules.

s = side (0 left, 1 right), M = modules, k / l = numerical ranks in the first / second adapter. In numpy, as the tests
against chance are; NaN where nothing is defined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lorafold.core_space import Layer
from lorafold.geometry import phi_sd
from lorafold.pipelines.compare.batch import ComparedBatch
from lorafold.pipelines.compare.chance import Array, Chance, Counts, chance_of
from lorafold.pipelines.compare.null import Draws, Null, null_of

SIDES = ("left", "right")
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Grids = dict[tuple[int, int], dict[str, dict[str, Array]]]  # pair -> module -> side -> φ(i, j) (k, l)
_ANGLE_DIGITS = 6  # of angles in radians: some 10^5 of them are written


@dataclass(frozen=True)
class Modules:
    """All modules, whatever they are compared in."""

    layers: list[Layer]
    sizes: Counts  # (s, M)  m and n
    present: Bools  # (N, M)  the adapter has the module
    dims: Counts  # (N, M)
    energies: Array  # (N, M)


@dataclass(frozen=True)
class Pair:
    """One pair of adapters."""

    pair: tuple[int, int]
    shared: Bools  # (M,)  both have the module
    phi: Array  # (s, M)
    grid_mean: Array  # (s, M)
    chance: Chance
    null: Null | None
    distances: dict[str, Array]  # (s, M) each
    angles: tuple[list[list[float]], ...]  # of each side and module, min(k, l) numbers
    inner: Array  # (M,)  ⟨ΔW_1, ΔW_2⟩
    energies: Array  # (2, M)
    sizes: Counts  # (s, M)
    turned: Array  # (2, M)  see `Overlap`

    def cosine(self, where: Bools | slice = slice(None)) -> float:
        """The cosine of the two updates, each over the modules `where` (M,) as one vector."""
        sizes = self.energies[:, where].sum(1)
        product = float(np.sqrt(sizes).prod())
        return float(np.clip(self.inner[where].sum() / product, -1, 1)) if product else np.nan

    def cosine_sd(self) -> float:
        """Standard deviation of the whole cosine for independent updates with singular vectors uniform at random.

        E ⟨O ΔW_1 Pᵀ, ΔW_2⟩² = ‖ΔW_1‖² ‖ΔW_2‖² / (m n) for Haar O and P, whatever the spectra (Schur's lemma), and
        the modules are independent. The mean is 0.
        """
        return self._relative(float((self.energies.prod(0) / self.sizes.prod(0)).sum()))

    def cosine_sd_inside(self) -> float:
        """The same, given the subspaces: singular vectors uniform inside those of the first, or of the second update.

        The larger of the two; beyond `cosine_sd` where the subspaces overlap more than random ones.
        """
        return self._relative(float(self.turned.sum(1).max()))

    def _relative(self, variance: float) -> float:
        product = float(self.energies.sum(1).prod())
        return float(np.sqrt(variance / product)) if product else np.nan


def modules_of(batches: Sequence[ComparedBatch]) -> Modules:
    """What does not depend on the pair."""
    order = _order(batches)
    layers = [layer for batch in batches for layer in batch.layers]
    layers = [layers[i] for i in order]
    return Modules(
        layers,
        np.array([layer.shape for layer in layers]).T,
        np.array([layer.ranks for layer in layers]).T > 0,
        _join([batch.dims for batch in batches], order).astype(np.int64),
        _join([batch.energies for batch in batches], order),
    )


def pair_of(
    batches: Sequence[ComparedBatch], modules: Modules, pair: tuple[int, int], draws: Draws | None, alpha: float
) -> Pair:
    """One pair over all modules, tested against random subspaces and against the draws."""
    order, overlaps, both = _order(batches), [batch.overlaps[pair] for batch in batches], list(pair)
    phi = _join([overlap.phi for overlap in overlaps], order)
    return Pair(
        pair,
        np.all(modules.present[both], axis=0),
        phi,
        _join([overlap.grid_mean for overlap in overlaps], order),
        chance_of(phi, modules.sizes, modules.dims[both]),
        None if draws is None else null_of(draws, _random_sd(modules.sizes, draws.dims), alpha),
        {name: _join([overlap.distances[name] for overlap in overlaps], order) for name in overlaps[0].distances},
        tuple(_angles([overlap.angles[side] for overlap in overlaps], order, modules.dims[both]) for side in range(2)),
        _join([overlap.inner for overlap in overlaps], order),
        modules.energies[both],
        modules.sizes,
        _join([overlap.turned for overlap in overlaps], order),
    )


def panel_draws(batches: Sequence[ComparedBatch]) -> dict[tuple[int, int], Draws]:
    """φ of every pair and of the others that it makes with a panel, over all modules."""
    order = _order(batches)
    families = {pair: [batch.families[pair] for batch in batches] for pair in batches[0].families}
    return {
        pair: Draws(
            _join([phi for phi, _ in own], order), np.broadcast_to(_join([q for _, q in own], order), (2, len(order)))
        )
        for pair, own in families.items()
    }


def grids_of(batches: Sequence[ComparedBatch]) -> Grids:
    """φ(i, j) for 1 <= i <= k, 1 <= j <= l; left out where k or l is 0."""
    grids: Grids = {pair: {} for pair in batches[0].overlaps}
    for batch in batches:
        for pair, overlap in batch.overlaps.items():
            left, right = overlap.grid.cpu().numpy()
            dims = batch.dims[list(pair)].T.tolist()
            for layer, (rows, columns), *sides in zip(batch.layers, dims, left, right, strict=True):
                if rows and columns:
                    cut = (side[:rows, :columns] for side in sides)
                    grids[pair][layer.name] = dict(zip(SIDES, cut, strict=True))
    return grids


def _random_sd(sizes: Counts, dims: Counts) -> Array:
    """Standard deviation of φ of random subspaces (s, M); where none are compared, of no meaning."""
    return np.asarray(phi_sd(sizes, *np.maximum(dims, 1)[:, None]))


def _order(batches: Sequence[ComparedBatch]) -> Counts:
    """Where the modules are among those of all batches."""
    return np.argsort(np.concatenate([batch.rows for batch in batches]))


def _join(parts: Sequence[Tensor], order: Counts) -> Array:
    """(..., b) of every batch -> (..., M)"""
    return torch.cat(list(parts), -1).cpu().numpy()[..., order]


def _angles(parts: Sequence[Tensor], order: Counts, dims: Counts) -> list[list[float]]:
    rows = [row for part in parts for row in part.round(decimals=_ANGLE_DIGITS).tolist()]
    return [rows[i][:count] for i, count in zip(order, dims.min(0).tolist(), strict=True)]
