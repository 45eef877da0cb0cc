"""From files of statistics to calibrated layers: which belong to which adapter, and what they count.

N = adapters.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lorafold.adapters import Adapter
from lorafold.calibration import LayerStatistics, Statistics
from lorafold.calibration.content_hash import content_hash
from lorafold.calibration.file import check_statistics as check_numbers
from lorafold.calibration.file import load_statistics
from lorafold.common.errors import LorafoldError
from lorafold.core_space import Calibration, Layer, reduce_layers
from lorafold.layers.buckets import split_buckets
from lorafold.pipelines.compare.chance import chance_of, sign_test
from lorafold.pipelines.compare.overlap import overlap, singular_frames
from lorafold.pipelines.compare.verdict import shared_initialisation
from lorafold.pipelines.merge.weights import Weights

_log = logging.getLogger(__name__)

# Of the mean eigenvalue of C_i; the second where row spaces are alike because training began alike.
RIDGE, RIDGE_OF_ONE_SEED = 0.01, 0.1
# So many modules, evenly spread, tell whether two adapters began alike; the level of the test.
_SAMPLE, _ALPHA = 48, 0.05
_NAMED = 3

ByModule = Mapping[str, LayerStatistics]


def load_calibration(given: Sequence[Any]) -> list[Statistics]:
    """Read what is not in memory yet, and check the rest."""
    for number, item in enumerate(given):
        if isinstance(item, Statistics):
            check_numbers(item, Path(_name(given, number)))
    return [item if isinstance(item, Statistics) else load_statistics(item) for item in given]


def check_calibration(given: Any, count: int) -> tuple[Any, ...] | None:
    """The statistics of `count` adapters, or where they are.

    Raises:
        LorafoldError: not one for each.
    """
    if given is None:
        return None
    items = [given] if isinstance(given, str | Path | Statistics) else given
    if not isinstance(items, Sequence) or not all(isinstance(item, str | Path | Statistics) for item in items):
        raise LorafoldError(
            f"calibration={given!r}, expected a list of files of statistics",
            remedy="Write 'calibration=[a.stats.safetensors,b.stats.safetensors]'; `lorafold calibrate` makes them.",
        )
    if len(items) != count:
        raise LorafoldError(
            f"calibration= names {len(items)} files of statistics, but there are {count} adapters",
            remedy="Give one for each adapter, in the same order.",
        )
    return tuple(items)


def check_statistics(statistics: Sequence[Statistics], adapters: Sequence[Adapter], given: Sequence[Any]) -> None:
    """Check that the statistics are those of the adapters, in this order; warn of different base models.

    Args:
        adapters: as they were read, before anything is done to them.
        given: what the user gave, for messages.

    Raises:
        LorafoldError: statistics of another adapter, or of the same inputs for two.
    """
    hashes = [content_hash(adapter) for adapter in adapters]
    for number, own in enumerate(statistics):
        if own.adapter_hash != hashes[number]:
            raise _foreign(own, number, adapters, hashes, given)
    for i, j in combinations(range(len(statistics)), 2):
        if statistics[i].corpus_hash == statistics[j].corpus_hash and hashes[i] != hashes[j]:
            raise LorafoldError(
                f"{_name(given, i)} and {_name(given, j)}: two adapters were given the same inputs, "
                "which makes the merge worse than none of them",
                remedy="Run `lorafold calibrate` with inputs of each adapter's own task.",
            )
    bases = list(dict.fromkeys(own.base for own in statistics))
    if len(bases) > 1:
        _log.warning("the statistics come from different base models: %s", ", ".join(bases))


def _foreign(
    own: Statistics, number: int, adapters: Sequence[Adapter], hashes: Sequence[str], given: Sequence[Any]
) -> LorafoldError:
    wanted = _adapter_name(adapters, number)
    whose = [_adapter_name(adapters, i) for i, found in enumerate(hashes) if found == own.adapter_hash]
    belongs = f"they belong to {whose[0]}" if whose else "they belong to none of these adapters"
    return LorafoldError(
        f"{_name(given, number)} are not the statistics of {wanted}: {belongs}",
        remedy="Give the files in the order of the adapters."
        if whose
        else "Run `lorafold calibrate` for it as it is now, with the same base= and input_rank=.",
    )


def _name(given: Sequence[Any], number: int) -> str:
    item = given[number]
    return f"the statistics #{number + 1}" if isinstance(item, Statistics) else str(item)


def _adapter_name(adapters: Sequence[Adapter], number: int) -> str:
    path = adapters[number].path
    return f"#{number + 1}" if path is None else f"#{number + 1} ({path})"


def by_module(statistics: Statistics, read: Adapter, matched: Adapter) -> ByModule:
    """The statistics under the names that modules have where another format was matched.

    A module that was renamed, split or fused of parts with one `down` has that in memory where it was, and reads what
    they read; a part counts with the energy of the whole. Where several modules have one `down` and read different
    inputs, or `down` is new, nothing is known.
    """
    inputs = {name: id(layer.diagonal) for name, layer in statistics.layers.items()}
    names: dict[int, list[str]] = defaultdict(list)
    for name, module in read.modules.items():
        names[module.down.data_ptr()].append(name)
    origins = {}
    for name, module in matched.modules.items():
        same = [name] if name in read.modules else names[module.down.data_ptr()]
        if len({inputs.get(each) for each in same}) == 1:
            origins[name] = same[0]
    return {name: statistics.layers[old] for name, old in origins.items() if old in statistics.layers}


def presence(layers: Sequence[Layer], adapters: Sequence[Adapter]) -> dict[str, list[bool]]:
    """Which adapters have a module, or an additive tensor, by name."""
    modules = {layer.name: [rank > 0 for rank in layer.ranks] for layer in layers}
    keys = dict.fromkeys(key for adapter in adapters for key in adapter.deltas)
    return modules | {key: [key in adapter.deltas for adapter in adapters] for key in keys}


@dataclass(frozen=True)
class Split:
    """Layers with statistics of every adapter that has them, and the others."""

    calibrated: list[Layer]
    plain: list[Layer]
    ridge: float
    alike: list[tuple[int, int]]  # adapters that share their initialisation


def split_layers(
    layers: Sequence[Layer],
    statistics: Sequence[ByModule],
    weights: Weights,
    gains: Sequence[float],
    ridge: float | None,
    subspaces: bool,
) -> Split:
    """Calibrated layers, and those that lack statistics, which are named in a warning.

    Args:
        statistics: of each adapter.
        weights: relative; the size of w_i is the share of adapter i in the norm.
        gains: by which the adapters were balanced.
        ridge: None: chosen.
        subspaces: whether a term of the objective is about those of the updates as they are.
    """
    known = [layer for layer in layers if _is_known(layer, statistics)]
    names = {layer.name for layer in known}
    plain = [layer for layer in layers if layer.name not in names]
    if plain:
        _warn(plain, len(layers))
    alike = alike_from_the_start(known) if known else []
    ridge = ridge or (RIDGE_OF_ONE_SEED if alike else RIDGE)
    calibrated = []
    for layer in known:
        own = _calibration(layer, statistics, weights.of(layer.name), gains)
        calibrated.append(replace(layer, calibration=replace(own, ridge=ridge, subspaces=subspaces)))
    return Split(calibrated, plain, ridge, alike)


def _is_known(layer: Layer, statistics: Sequence[ByModule]) -> bool:
    """Whether every adapter that has the module has statistics of it, and some input is not zero."""
    own = [stats.get(layer.name) for stats, rank in zip(statistics, layer.ranks, strict=True) if rank]
    for one in own:
        if one is not None and len(one.diagonal) != layer.shape[1]:
            raise LorafoldError(
                f"statistics of {len(one.diagonal)} inputs, but the module has {layer.shape[1]}",
                key=layer.name,
                remedy="Run `lorafold calibrate` again.",
            )
    return all(one is not None and bool((one.diagonal > 0).any()) for one in own)


def _calibration(
    layer: Layer, statistics: Sequence[ByModule], weights: Sequence[float], gains: Sequence[float]
) -> Calibration:
    own = [stats.get(layer.name) if rank else None for stats, rank in zip(statistics, layer.ranks, strict=True)]
    sizes = [abs(weight) if one else 0.0 for weight, one in zip(weights, own, strict=True)]
    if not any(sizes):  # of a sum of nothing any norm will do
        sizes = [float(one is not None) for one in own]
    energies = [gain * gain * one.energy if one else 0.0 for gain, one in zip(gains, own, strict=True)]
    shares = [size / math.fsum(sizes) for size in sizes]
    return Calibration(tuple(own), tuple(energies), tuple(shares), RIDGE)


def _warn(plain: Sequence[Layer], count: int) -> None:
    names = ", ".join(layer.name for layer in plain[:_NAMED]) + (", ..." if len(plain) > _NAMED else "")
    _log.warning(
        "%d of %d modules have no statistics of every adapter and are merged as without calibration: %s",
        len(plain),
        count,
        names,
    )


def alike_from_the_start(layers: Sequence[Layer]) -> list[tuple[int, int]]:
    """The pairs of adapters with the pattern of a shared initialisation, see `shared_initialisation`.

    Seen in some modules, evenly spread, which is enough for the tests.
    """
    step = -(-len(layers) // _SAMPLE)
    sample = layers[::step]
    count = len(sample[0].ranks)
    phis: dict[tuple[int, int], list[np.ndarray[Any, Any]]] = {pair: [] for pair in combinations(range(count), 2)}
    dims, sizes = [], []
    for bucket in split_buckets(sample, _SAMPLE):
        own = bucket.select(sample)
        frames = singular_frames(reduce_layers(own, bucket.slots, torch.ones(len(own), count, dtype=torch.float64)))
        dims.append(torch.stack([frame.dims for frame in frames]).numpy())
        sizes.append(np.array([layer.shape for layer in own]).T)
        for (i, j), found in phis.items():
            found.append(overlap(frames[i], frames[j], ()).phi.numpy())
    ranks, shapes = np.concatenate(dims, 1), np.concatenate(sizes, 1)
    return [pair for pair, found in phis.items() if _alike(np.concatenate(found, 1), shapes, ranks[list(pair)])]


def _alike(phi: np.ndarray[Any, Any], sizes: np.ndarray[Any, Any], dims: np.ndarray[Any, Any]) -> bool:
    chance = chance_of(phi, sizes, dims)
    significant, tested = int((chance.p_adjusted[1] <= _ALPHA).sum()), int(np.isfinite(phi[1]).sum())
    return shared_initialisation(significant, tested, sign_test(phi - chance.expected).p, _ALPHA)
