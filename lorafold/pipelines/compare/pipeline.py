"""The comparison: files -> adapters -> core space -> overlaps -> tests against a null.

b = modules of a batch, N = adapters, P = adapters in the panel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
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
from lorafold.pipelines.compare.batch import ComparedBatch, compared_batch
from lorafold.pipelines.compare.metrics import compare_metrics
from lorafold.pipelines.compare.mismatched import mismatched_draws
from lorafold.pipelines.compare.null import Draws
from lorafold.pipelines.compare.overlap import singular_frames
from lorafold.pipelines.compare.pair import SIDES, Grids, grids_of, modules_of, panel_draws
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
    panel: tuple[Adapter, ...] = ()
    draws: Mapping[tuple[int, int], Draws] = field(default_factory=dict)

    def metrics(self) -> dict[str, Any]:
        """Everything measured, as plain JSON: inputs, panel, summary, modules."""
        return compare_metrics(
            self.inputs, self.batches, self.draws, self.settings.alpha, self.seconds, panel=self.panel
        )

    def to_pandas(self) -> Any:
        """A data frame with a row per module and pair of adapters: what `metrics()` has in `modules`."""
        return data_frame(pair_rows(self.metrics()["modules"]))

    def _repr_html_(self) -> str:
        """For notebooks: the closing table, and its reading."""
        metrics = self.metrics()
        notes = [*source_lines(metrics["inputs"]), *explanation(metrics["summary"])]
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
    """Compare the update subspaces of two or more LoRA adapters, module by module and pair by pair.

    Args:
        adapters: files, folders or adapters in memory, all of one format.
        settings: all settings at once; None: the defaults.
        changes: single settings by name, e.g. alpha=0.01, or panel=[...] with adapters as above.
            `help(lorafold.CompareSettings)` lists them.

    Raises:
        LorafoldError: a mistake in the settings or in a file.
    """
    return _compare(adapters, apply_changes(CompareSettings, settings, changes))


def compare_roughly(adapters: Sequence[str | Path | Adapter]) -> CompareResult:
    """The same to six digits, which is enough for a page: in half the time where one adapter is the merge of others."""
    return _compare(adapters, CompareSettings(), roughly=True)  # without a null: a merge is unlike any other adapter


def compared_already(adapters: Sequence[Adapter], batches: Sequence[ComparedBatch]) -> CompareResult:
    """The same where the batches are known, as they are after a merge that was asked for them."""
    return CompareResult(tuple(adapters), CompareSettings(), tuple(batches), {})


def _compare(adapters: Sequence[str | Path | Adapter], chosen: CompareSettings, roughly: bool = False) -> CompareResult:
    device = check_compare(chosen, len(adapters)).device
    clock = Stopwatch()
    with clock("read"):
        loaded = load_all([*adapters, *chosen.panel], chosen.base, chosen.input_rank, chosen.allow_different_bases)
        inputs, panel = tuple(loaded[: len(adapters)]), tuple(loaded[len(adapters) :])
        check_panel(inputs, panel)
        layers = [layer for layer in line_up(loaded) if any(layer.ranks[: len(inputs)])]
    work = partial(
        _compare_bucket,
        layers=layers,
        count=len(inputs),
        distances=chosen.distances,
        device=device,
        roughly=roughly,
    )
    with non_finite_named(loaded), clock("compare"):
        batches = tuple(map_parallel(work, split_buckets(layers, _MOST, device=device), device))
    draws: Mapping[tuple[int, int], Draws] = {}
    if not roughly:
        with clock("null"):
            draws = panel_draws(batches) if panel else _mismatched(batches, chosen.alpha, device)
    return CompareResult(inputs, chosen, batches, dict(clock.seconds), panel, draws)


def _mismatched(
    batches: Sequence[ComparedBatch], alpha: float, device: torch.device
) -> Mapping[tuple[int, int], Draws]:
    modules = modules_of(batches)
    return mismatched_draws(modules.layers, modules.dims, alpha, device)


def check_compare(settings: CompareSettings, count: int) -> Place:
    """Check the settings of a comparison of `count` adapters.

    Raises:
        LorafoldError: too few adapters, a panel that is no list, an unknown distance, a level that is none, or no such
            device.
    """
    if count < 2:
        raise LorafoldError(
            f"{count} adapter to compare, expected at least two", remedy="For example 'adapters=[a,b]'."
        )
    distances, alpha, panel = settings.distances, settings.alpha, settings.panel
    if isinstance(panel, str | Path) or not isinstance(panel, Sequence):
        raise LorafoldError(f"panel={panel!r}, expected a list of adapters", remedy="For example 'panel=[c,d,e,f,g]'.")
    if isinstance(distances, str) or not isinstance(distances, Sequence):
        raise LorafoldError(f"distances={distances!r}, expected a list", remedy="For example 'distances=[chordal]'.")
    for name in distances:
        if name not in DISTANCES:
            remedy = f"Choose from {', '.join(sorted(DISTANCES))}.{suggest(str(name), DISTANCES)}"
            raise LorafoldError(f"no distance is called {name!r}", remedy=remedy)
    if not (isfinite(alpha) and 0 < alpha < 1):
        raise LorafoldError(f"alpha={alpha}, expected a number between 0 and 1", remedy="For example alpha=0.05.")
    return Place(device_of(settings.device))


def check_panel(inputs: Sequence[Adapter], panel: Sequence[Adapter]) -> None:
    """Refuse a panel that has one of the adapters that are compared, or one twice: it would say nothing of chance."""
    paths = [adapter.path for adapter in inputs]
    for adapter in panel:
        if adapter.path is not None and any(
            path and Path(path).resolve() == Path(adapter.path).resolve() for path in paths
        ):
            raise LorafoldError(
                "in the panel, but compared itself, or there twice",
                path=adapter.path,
                remedy="Give other adapters of that base, each once.",
            )
        paths.append(adapter.path)


def _compare_bucket(
    bucket: Bucket,
    layers: Sequence[Layer],
    count: int,
    distances: Sequence[str],
    device: torch.device,
    roughly: bool,
) -> ComparedBatch:
    members, slots = bucket.select(layers), bucket.slots
    weights = torch.ones(len(members), len(slots), dtype=torch.float64)  # no sum of the updates is formed
    frames = singular_frames(reduce_layers(members, slots, weights.to(device), roughly=roughly))
    own = [_of_the_first(layer, count) for layer in members]
    return compared_batch(own, bucket.positions, frames[:count], distances, frames[count:], roughly=roughly)


def _of_the_first(layer: Layer, count: int) -> Layer:
    """Without the panel."""
    return replace(layer, ups=layer.ups[:count], downs=layer.downs[:count], scales=layer.scales[:count])
