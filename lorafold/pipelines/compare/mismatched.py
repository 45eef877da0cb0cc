"""Layers that do not belong together as the null: layer i of one adapter beside layer j of the other.

Layers of one shape and with the same ranks are compared with each other, shifted: draw number t pairs layer i of the
first adapter with layer i + shift_t of the second. Shifts are a group, so that p-values are exact if it does not matter
which layer of the second adapter meets which of the first.

M = modules, b = layers of one class, n = draws, s = side (0 left, 1 right), k / l = leading directions compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from lorafold.common.parallel import map_parallel
from lorafold.core_space import Layer, lift, reduce_layers
from lorafold.pipelines.compare.null import Array, Counts, Draws, smallest_n
from lorafold.pipelines.compare.overlap import singular_frames

_ENOUGH = 32  # layers: a class of twice as many is compared in parts, for the work grows with their square
_SEED = 0

Pair = tuple[int, int]


def mismatched_draws(layers: Sequence[Layer], dims: Counts, alpha: float, device: torch.device) -> dict[Pair, Draws]:
    """φ of every pair of adapters, then that of its mismatched layers; NaN where a class has fewer draws than others.

    All classes that are large enough for a p-value of alpha get the same number of draws, which makes them one family;
    the others get as many as there are.

    Args:
        layers: the modules.
        dims: numerical ranks (N, M).
        alpha: significance level.
        device: to compute on.
    """
    return {pair: _draws(layers, pair, dims[list(pair)], alpha, device) for pair in combinations(range(len(dims)), 2)}


def _draws(layers: Sequence[Layer], pair: Pair, dims: Counts, alpha: float, device: torch.device) -> Draws:
    classes = [np.array(members) for members in _classes(layers, pair, dims, max(_ENOUGH, smallest_n(alpha) + 1))]
    enough = [len(members) - 1 for members in classes if len(members) > smallest_n(alpha)]
    most = max((len(members) - 1 for members in classes), default=0)
    n = min(enough, default=most)
    phi, compared = np.full((1 + n, 2, len(layers)), np.nan), np.zeros((2, len(layers)), dtype=np.int64)
    work = partial(_phi, layers=layers, pair=pair, dims=dims, device=device)
    for members, own in zip(classes, map_parallel(work, classes, device), strict=True):
        rows, columns = np.arange(len(members)), _shifts(len(members), n)
        met = own[:, rows, (rows + columns[:, None]) % len(members)]  # (s, 1 + n, b)
        phi[: len(columns), :, members] = met.transpose(1, 0, 2)
        compared[:, members] = dims[:, members].min(1)[:, None]
    return Draws(phi, compared)


def _classes(layers: Sequence[Layer], pair: Pair, dims: Counts, enough: int) -> Iterator[list[int]]:
    """Positions of layers of one shape, and of the same ranks, that both adapters have; at least `enough` in a part."""
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for position in np.flatnonzero(dims.min(0) > 0).tolist():
        layer = layers[position]
        alike[(*layer.shape, *(layer.ranks[adapter] for adapter in pair))].append(position)
    for members in alike.values():
        parts = max(1, len(members) // enough)
        yield from (members[part::parts] for part in range(parts))


def _shifts(size: int, n: int) -> Counts:
    """0, then up to n of the others, in random order: which shifts of several classes meet has no meaning."""
    return np.concatenate([[0], 1 + np.random.default_rng((_SEED, size)).permutation(size - 1)[:n]])


def _phi(members: Counts, layers: Sequence[Layer], pair: Pair, dims: Counts, device: torch.device) -> Array:
    """φ of the leading directions of all layers of a class, first against second adapter.  (s, b, b)"""
    own, ranks = [layers[i] for i in members], dims[:, members].min(1).tolist()
    sides = zip(*(_frames(own, *one, device) for one in zip(pair, ranks, strict=True)), strict=True)
    squares = torch.stack([_products(first, second) for first, second in sides])
    return np.minimum(squares.double().cpu().numpy() / min(ranks), 1)


def _frames(layers: Sequence[Layer], adapter: int, k: int, device: torch.device) -> list[Tensor]:
    """Leading left and right singular vectors of one adapter, (b, m, k) and (b, n, k): float32 is enough for a null."""
    own = [_alone(layer, adapter) for layer in layers]
    batch = reduce_layers(own, own[0].ranks, torch.ones(len(own), 1, dtype=torch.float64, device=device))
    (update,) = singular_frames(batch)
    left, right = lift(batch, update.frames[0, ..., :k], update.frames[1, ..., :k], torch.float32)
    return [torch.stack(left.factors).to(device), torch.stack(right.factors).mT.to(device)]


def _alone(layer: Layer, adapter: int) -> Layer:
    return replace(layer, ups=(layer.ups[adapter],), downs=(layer.downs[adapter],), scales=(layer.scales[adapter],))


def _products(X: Tensor, Y: Tensor) -> Tensor:
    first, second = X.movedim(1, 0).flatten(1), Y.movedim(1, 0).flatten(1)  # (d, b k), (d, b l)
    squares = (first.mT @ second).square().reshape(len(X), X.shape[-1], len(Y), Y.shape[-1])
    return squares.sum((1, 3))
