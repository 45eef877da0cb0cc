"""The comparison: files -> adapters -> core space -> overlaps -> tests against chance.

b = modules of a batch, N = adapters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import isfinite
from pathlib import Path
from typing import Any, Unpack

import torch

from lorafold.adapters import Adapter
from lorafold.common.device import Place, device_of
from lorafold.common.errors import LorafoldError, suggest
from lorafold.common.parallel import map_parallel
from lorafold.common.settings import apply_changes
from lorafold.common.stopwatch import Stopwatch
from lorafold.common.text import number
from lorafold.core_space import Layer, reduce_layers
from lorafold.geometry import DISTANCES
from lorafold.layers.buckets import Bucket, split_buckets
from lorafold.layers.line_up import line_up, load_all, non_finite_named
from lorafold.pipelines._tables import data_frame, pair_rows, source_lines
from lorafold.pipelines.compare.metrics import compare_metrics
from lorafold.pipelines.compare.overlap import on_cpu, overlap, singular_frames
from lorafold.pipelines.compare.pair import SIDES, ComparedBatch, Grids, grids_of
from lorafold.pipelines.compare.settings import CompareOptions, CompareSettings
from lorafold.pipelines.compare.table import compare_table, explanation

_MOST = 32  # modules per bucket: few enough to stay in the cache


@dataclass(frozen=True)
class CompareResult:
    """How the adapters lie to each other, per batch of modules."""

    inputs: tuple[Adapter, ...]
    settings: CompareSettings
    batches: tuple[ComparedBatch, ...]
    seconds: dict[str, float]

    def metrics(self) -> dict[str, Any]:
        """Everything measured, as plain JSON: inputs, summary, modules."""
        return compare_metrics(self.inputs, self.batches, self.settings.alpha, self.seconds)

    def to_pandas(self) -> Any:
        """A data frame with a row per module and pair of adapters: what `metrics()` has in `modules`."""
        return data_frame(pair_rows(self.metrics()["modules"]))

    def _repr_html_(self) -> str:
        """For notebooks: the closing table, and its reading."""
        metrics = self.metrics()
        notes = [*source_lines(metrics["inputs"]), *explanation(metrics["summary"]["pairs"])]
        return compare_table(metrics).html(repr(self), notes)

    def __repr__(self) -> str:
        """One line: modules, and of a single pair the overlaps, cosine and verdict."""
        summary = self.metrics()["summary"]
        head = f"{len(self.inputs)} adapters, {summary['modules']} modules"
        if len(self.inputs) > 2:
            return f"CompareResult({head}, {len(summary['pairs'])} pairs)"
        (pair,) = summary["pairs"]
        phis = " ".join(number(pair[side]["phi"], 3) for side in SIDES)
        return f"CompareResult({head}, phi {phis}, cosine {number(pair['cosine'], 4)}, {pair['verdict']})"

    @property
    def grids(self) -> Grids:
        """φ(i, j) of the leading i and j singular vectors: `grids[0, 1][name]["left"][i - 1, j - 1]`.

        1 <= i <= k and 1 <= j <= l, the numerical ranks, so that no vector is noise; modules with k or l = 0 lack.
        Source: Hu et al., "LoRA" (2021), figure 3.
        """
        return grids_of(self.batches)


def compare(
    adapters: Sequence[str | Path | Adapter], settings: CompareSettings | None = None, **changes: Unpack[CompareOptions]
) -> CompareResult:
    """Compare the update subspaces of two or more LoRA adapters, module by module and pair by pair, with chance.

    Args:
        adapters: files, folders or adapters in memory, all of one format.
        settings: all settings at once; None: the defaults.
        changes: single settings by name, e.g. alpha=0.01. `help(lorafold.CompareSettings)` lists them.

    Raises:
        LorafoldError: a mistake in the settings or in a file.
    """
    return _compare(adapters, apply_changes(CompareSettings, settings, changes))


def compare_roughly(adapters: Sequence[str | Path | Adapter]) -> CompareResult:
    """The same to six digits, which is enough for a page: in half the time where one adapter is the merge of others."""
    return _compare(adapters, CompareSettings(), roughly=True)


def _compare(adapters: Sequence[str | Path | Adapter], chosen: CompareSettings, roughly: bool = False) -> CompareResult:
    device = check_compare(chosen, len(adapters)).device
    clock = Stopwatch()
    with clock("read"):
        inputs = load_all(adapters, chosen.base, chosen.input_rank, chosen.allow_different_bases)
        layers = line_up(inputs)
    work = partial(_compare_bucket, layers=layers, distances=chosen.distances, device=device, roughly=roughly)
    with non_finite_named(inputs), clock("compare"):
        batches = tuple(map_parallel(work, split_buckets(layers, _MOST, device=device), device))
    return CompareResult(tuple(inputs), chosen, batches, dict(clock.seconds))


def check_compare(settings: CompareSettings, count: int) -> Place:
    """Check the settings of a comparison of `count` adapters.

    Raises:
        LorafoldError: too few adapters, an unknown distance, a level that is none, or no such device.
    """
    if count < 2:
        raise LorafoldError(
            f"{count} adapter to compare, expected at least two", remedy="For example 'adapters=[a,b]'."
        )
    distances, alpha = settings.distances, settings.alpha
    if isinstance(distances, str) or not isinstance(distances, Sequence):
        raise LorafoldError(f"distances={distances!r}, expected a list", remedy="For example 'distances=[chordal]'.")
    for name in distances:
        if name not in DISTANCES:
            remedy = f"Choose from {', '.join(sorted(DISTANCES))}.{suggest(str(name), DISTANCES)}"
            raise LorafoldError(f"no distance is called {name!r}", remedy=remedy)
    if not (isfinite(alpha) and 0 < alpha < 1):
        raise LorafoldError(f"alpha={alpha}, expected a number between 0 and 1", remedy="For example alpha=0.05.")
    return Place(device_of(settings.device))


def _compare_bucket(
    bucket: Bucket, layers: Sequence[Layer], distances: Sequence[str], device: torch.device, roughly: bool
) -> ComparedBatch:
    members, slots = bucket.select(layers), bucket.slots
    weights = torch.ones(len(members), len(slots), dtype=torch.float64)  # no sum of the updates is formed
    updates = singular_frames(reduce_layers(members, slots, weights.to(device), roughly=roughly))
    return ComparedBatch(
        members,
        bucket.positions,
        torch.stack([update.dims for update in updates]).cpu(),
        torch.stack([update.sigma.square().sum(-1) for update in updates]).cpu(),
        {(i, j): on_cpu(overlap(updates[i], updates[j], distances)) for i, j in combinations(range(len(updates)), 2)},
    )
