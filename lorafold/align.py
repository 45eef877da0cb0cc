"""The alignment: files -> adapters -> core space -> gauge or class of each -> the same files, rewritten.

b = modules, N = adapters, K = an adapter's slot, r = common width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lorafold.adapters import Adapter
from lorafold.align_factors import Balanced, averaging_error, balanced, file_factors
from lorafold.align_gauge import general_gauge, orthogonal_gauge
from lorafold.align_metrics import AlignedBatch, align_metrics
from lorafold.align_settings import AlignSettings
from lorafold.align_subspace import nearest_in_class
from lorafold.assemble import assemble
from lorafold.core_space import CoreBatch, Layer, reduce_layers
from lorafold.errors import LorafoldError
from lorafold.inputs import line_up, load_all, non_finite_named, pieces
from lorafold.options import suggest
from lorafold.parallel import map_pieces
from lorafold.stopwatch import Stopwatch

MODES, GROUPS = ("gauge", "subspace"), ("orthogonal", "general")
_MOST = 32  # modules per piece of work: few enough to stay in the cache

Change = tuple[Tensor, Tensor]  # P and W (b, r, r): X -> X P, Yᵀ -> W Yᵀ
Measures = dict[str, Tensor]  # (b,) each


@dataclass(frozen=True)
class AlignResult:
    """The rewritten adapters, the first one balanced, and per batch of modules what was found."""

    adapters: tuple[Adapter, ...]
    inputs: tuple[Adapter, ...]
    settings: AlignSettings
    batches: tuple[AlignedBatch, ...]
    seconds: dict[str, float]

    def metrics(self) -> dict[str, Any]:
        """Everything measured, as plain JSON: inputs, summary, modules."""
        return align_metrics(self.inputs, self.batches, self.settings.mode, self.seconds)


def align(
    adapters: Sequence[str | Path | Adapter], settings: AlignSettings | None = None, **changes: Any
) -> AlignResult:
    """Rewrite the second and further adapters so that they match the first.

    `mode="gauge"` keeps every ΔW_i and changes its factors to (B_i G, G⁻¹A_i), G the minimiser of
    ‖B_1 - B_i G‖² + ‖A_1 - G⁻¹A_i‖² for balanced factors, over O(r) or GL(r): what averages factors, not updates, is
    less wrong then. Factors are zero-padded to the highest rank that any adapter has in a module.
    `mode="subspace"` keeps the column and row space of every ΔW_i and with them φ, but not ΔW_i: it becomes
    the nearest to ΔW_1 that has these spaces.

    All scales become 1, and the factors float32 or wider. Modules that the first adapter lacks are balanced only.

    Args:
        adapters: two or more files, folders or adapters in memory, all of one format.
        settings: see `AlignSettings`.
        changes: fields of `AlignSettings` to replace, e.g. group="general".

    Raises:
        LorafoldError: a mistake in the settings or in a file.
    """
    chosen = replace(settings or AlignSettings(), **changes)
    check_align(chosen, len(adapters))
    clock = Stopwatch()
    with clock("read"):
        inputs = load_all(adapters, chosen.base, chosen.input_rank, chosen.allow_different_bases)
        layers = line_up(inputs, thin=False)
    work = partial(_align_piece, layers=layers, settings=chosen)
    with non_finite_named(inputs):
        with clock("align"):
            done = list(map_pieces(work, pieces(layers, _MOST), torch.device("cpu")))
        rewritten = tuple(_rewritten(adapter, i, done) for i, adapter in enumerate(inputs))
    return AlignResult(rewritten, tuple(inputs), chosen, tuple(piece.report for piece in done), dict(clock.seconds))


def check_align(settings: AlignSettings, count: int) -> None:
    """Check the settings of an alignment of `count` adapters.

    Raises:
        LorafoldError: too few adapters, or an unknown mode or group.
    """
    if count < 2:
        raise LorafoldError(f"{count} adapter to align, expected at least two", remedy="For example 'adapters=[a,b]'.")
    for key, value, known in (("mode", settings.mode, MODES), ("group", settings.group, GROUPS)):
        if value not in known:
            remedy = f"Choose from {', '.join(known)}.{suggest(str(value), known)}"
            raise LorafoldError(f"unknown {key} {value!r}", remedy=remedy)


@dataclass(frozen=True)
class _Aligned:
    """One piece of the work, done."""

    report: AlignedBatch
    factors: tuple[dict[str, tuple[Tensor, Tensor]], ...]  # per adapter, by module


def _align_piece(
    piece: tuple[tuple[int, ...], list[int]], layers: Sequence[Layer], settings: AlignSettings
) -> _Aligned:
    slots, rows = piece
    weights = torch.ones(len(rows), len(slots), dtype=torch.float64)  # no sum of the updates is formed
    batch = reduce_layers([layers[i] for i in rows], slots, weights)
    each = [balanced(batch, i) for i in range(len(slots))]
    identity = torch.eye(max(slots), dtype=torch.float64).expand(len(rows), -1, -1)
    changes, measures = [(identity, identity)], []
    for i in range(1, len(slots)):
        change, found = _subspace(each[0], each[i]) if settings.mode == "subspace" else _gauge(batch, each, i, settings)
        changes.append(change)
        measures.append(found)
    padded = settings.mode == "gauge"
    lifted = [_lift(batch, i, one, change, padded) for i, (one, change) in enumerate(zip(each, changes, strict=True))]
    moved = torch.stack([_moved(batch, i, factors) for i, factors in enumerate(lifted)], 1)
    report = AlignedBatch(batch.layers, rows, batch.problem.energies, moved, measures)
    return _Aligned(report, tuple(lifted))


def _gauge(batch: CoreBatch, each: Sequence[Balanced], i: int, settings: AlignSettings) -> tuple[Change, Measures]:
    first, second = each[0].factors, each[i].factors
    gauges = {"orthogonal": orthogonal_gauge(first, second)}
    if settings.group == "general":
        gauges["general"] = general_gauge(first, second)
    error, target = averaging_error(file_factors(batch, 0), file_factors(batch, i))
    measures = {"target": target, "files": error, "balanced": averaging_error(first, second)[0]}
    for name, gauge in gauges.items():
        measures[name] = averaging_error(first, second.times(gauge.right, gauge.left))[0]
    best = gauges[settings.group]
    for key in ("mismatch", "gradient", "steps", "converged", "condition"):
        measures[key] = getattr(best, key)
    return (best.right, best.left), measures


def _subspace(first: Balanced, second: Balanced) -> tuple[Change, Measures]:
    P, W, raised = nearest_in_class(first, second)
    update = first.factors.update()
    after = second.factors.times(P, W).update()
    measures = {
        "target": update.square().sum((-2, -1)),
        "before": (second.factors.update() - update).square().sum((-2, -1)),
        "after": (after - update).square().sum((-2, -1)),
        "raised": raised,
    }
    shared = torch.minimum(first.kept.sum(-1), second.kept.sum(-1))
    for side, X, Y in zip(("left", "right"), first.frames(), second.frames(), strict=True):
        measures[side] = (X.mT @ Y).square().sum((-2, -1)) / shared
    return (P, W), measures


def _lift(
    batch: CoreBatch, adapter: int, factors: Balanced, change: Change, padded: bool
) -> dict[str, tuple[Tensor, Tensor]]:
    """Up (m, rank) and down (rank, n) of the modules that the adapter has, from the factors in its file alone."""
    ups, downs = factors.from_up @ change[0], change[1] @ factors.from_down
    lifted = {}
    for layer, P, W in zip(batch.layers, ups, downs, strict=True):
        up, down, k = layer.ups[adapter], layer.downs[adapter], layer.ranks[adapter]
        if k == 0:
            continue
        rank, dtype = max(layer.ranks) if padded else k, torch.promote_types(up.dtype, torch.float32)
        lifted[layer.name] = (
            (up.double() @ P[:k, :rank]).to(dtype),
            (W[:rank, :k] @ down.double()).to(dtype),
        )
    return lifted


def _moved(batch: CoreBatch, adapter: int, lifted: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
    """‖ΔW' - ΔW‖² of the rounded factors, from Gram matrices: relative to ‖ΔW‖², resolved to about 10⁻¹⁶.  (b,)"""
    result = torch.zeros(len(batch.layers), dtype=torch.float64)
    for row, layer in enumerate(batch.layers):
        if layer.name in lifted:
            up, down = (factor.double() for factor in lifted[layer.name])
            X = torch.cat([up, -layer.scales[adapter] * layer.ups[adapter].double()], 1)
            Y = torch.cat([down, layer.downs[adapter].double()])
            result[row] = ((X.mT @ X) * (Y @ Y.mT)).sum().clamp_min(0)
    return result


def _rewritten(adapter: Adapter, index: int, done: Sequence[_Aligned]) -> Adapter:
    found = {name: pair for piece in done for name, pair in piece.factors[index].items()}
    return assemble([adapter], [1.0], 1.0, {name: found[name] for name in adapter.modules})
