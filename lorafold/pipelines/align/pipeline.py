"""The alignment: files -> adapters -> core space -> gauge or class of each -> the same files, rewritten.

b = modules, N = adapters, K = an adapter's slot, r = common width.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.nn.functional import pad

from lorafold.adapters import Adapter, Module
from lorafold.adapters.metadata.header import merged_metadata
from lorafold.common.batched import map_tensors, scatter_rows, select_rows
from lorafold.common.device import Place, device_of
from lorafold.common.errors import LorafoldError, suggest
from lorafold.common.parallel import map_parallel
from lorafold.common.settings import apply_changes
from lorafold.common.stopwatch import Stopwatch
from lorafold.core_space import CoreBatch, Layer, reduce_layers
from lorafold.core_space.balanced import Factors, Rewritten, as_filed, averaging_error, balanced, balancing
from lorafold.layers.buckets import Bucket, split_buckets
from lorafold.layers.line_up import line_up, load_all, non_finite_named
from lorafold.pipelines._tables import data_frame, pair_rows
from lorafold.pipelines.align.gauge import general_gauge, orthogonal_gauge
from lorafold.pipelines.align.metrics import AlignedBatch, align_metrics
from lorafold.pipelines.align.settings import AlignOptions, AlignSettings
from lorafold.pipelines.align.subspace import nearest_in_class

MODES, GROUPS = ("gauge", "subspace"), ("orthogonal", "general")
_MOST = 32  # modules per bucket: few enough to stay in the cache

Measures = dict[str, Tensor]  # (b,) each


@dataclass(frozen=True)
class AlignResult:
    """The adapters, rewritten but for the first one, and per batch of modules what was found."""

    adapters: tuple[Adapter, ...]  # the first one as it was read; if its rank is not the highest, zero-padded
    inputs: tuple[Adapter, ...]
    settings: AlignSettings
    batches: tuple[AlignedBatch, ...]
    seconds: dict[str, float]

    def metrics(self) -> dict[str, Any]:
        """Everything measured, as plain JSON: inputs, summary, modules."""
        return align_metrics(self.inputs, self.batches, self.settings.mode, self.seconds)

    def to_pandas(self) -> Any:
        """A data frame with a row per module and pair of adapters: what `metrics()` has in `modules`."""
        return data_frame(pair_rows(self.metrics()["modules"]))

    def __repr__(self) -> str:
        """One line: adapters, modules, and how they were aligned."""
        modules, settings = sum(len(batch.layers) for batch in self.batches), self.settings
        how = f"gauge of the {settings.group} group" if settings.mode == "gauge" else f"mode {settings.mode}"
        return f"AlignResult({len(self.inputs)} adapters, {modules} modules, {how})"


def align(
    adapters: Sequence[str | Path | Adapter], settings: AlignSettings | None = None, **changes: Unpack[AlignOptions]
) -> AlignResult:
    """Rewrite the second and further adapters so that they match the first, which stays as it is.

    `mode="gauge"` keeps every ΔW_i and changes its factors to (B_i G, G⁻¹A_i): what averages factors, not updates, is
    less wrong then. G minimises ‖B_1 - B_i G‖² + ‖A_1 - G⁻¹A_i‖² over O(r) or GL(r) where both are balanced, and takes
    the result to the gauge in which B_1 and A_1 are. Of that, the same over O(r) in the factors as they are, and G = I,
    each module takes what errs least when factors are averaged, so that no module errs more than before. Scales become
    those of the first adapter, so that averaging them, or the alphas, changes nothing. Factors are zero-padded to the
    highest rank that any adapter has in a module, those of the first too.
    `mode="subspace"` keeps the column and row space of every ΔW_i and with them φ, but not ΔW_i: it becomes
    the nearest to ΔW_1 that has these spaces, with a scale of 1.

    Rewritten factors are float32 or wider. Modules that the first adapter lacks or scales by 0 stay as they are.

    Args:
        adapters: two or more files, folders or adapters in memory, all of one format.
        settings: all settings at once; None: the defaults.
        changes: single settings by name, e.g. group="general". `help(lorafold.AlignSettings)` lists them.

    Raises:
        LorafoldError: a mistake in the settings or in a file.
    """
    chosen = apply_changes(AlignSettings, settings, changes)
    device = check_align(chosen, len(adapters)).device
    clock = Stopwatch()
    with clock("read"):
        inputs = load_all(adapters, chosen.base, chosen.input_rank, chosen.allow_different_bases)
        layers = line_up(inputs, thin=False)
    work = partial(_align_bucket, layers=layers, inputs=inputs, settings=chosen, device=device)
    with non_finite_named(inputs), clock("align"):
        parts = list(map_parallel(work, split_buckets(layers, _MOST, device=device), device))
    changed = (dict(ChainMap(*(part.modules[i] for part in parts))) for i in range(len(inputs)))
    rewritten = tuple(map(_rewritten, inputs, changed))
    return AlignResult(rewritten, tuple(inputs), chosen, tuple(part.report for part in parts), dict(clock.seconds))


def check_align(settings: AlignSettings, count: int) -> Place:
    """Check the settings of an alignment of `count` adapters.

    Raises:
        LorafoldError: too few adapters, an unknown mode or group, or no such device.
    """
    if count < 2:
        raise LorafoldError(f"{count} adapter to align, expected at least two", remedy="For example 'adapters=[a,b]'.")
    for key, value, choices in (("mode", settings.mode, MODES), ("group", settings.group, GROUPS)):
        if value not in choices:
            remedy = f"Choose from {', '.join(choices)}.{suggest(str(value), choices)}"
            raise LorafoldError(f"unknown {key} {value!r}", remedy=remedy)
    return Place(device_of(settings.device))


@dataclass(frozen=True)
class _Aligned:
    """The layers of a bucket, rewritten."""

    report: AlignedBatch
    modules: tuple[dict[str, Module], ...]  # rewritten, per adapter


def _align_bucket(
    bucket: Bucket, layers: Sequence[Layer], inputs: Sequence[Adapter], settings: AlignSettings, device: torch.device
) -> _Aligned:
    slots = bucket.slots
    weights = torch.ones(len(bucket.positions), len(slots), dtype=torch.float64)  # no sum of the updates is formed
    batch = reduce_layers(bucket.select(layers), slots, weights.to(device), same_factors=True)
    rewrite = _subspace if settings.mode == "subspace" else partial(_gauge, general=settings.group == "general")
    pairs = [_on_cpu(*rewrite(batch, i)) for i in range(1, len(slots))]
    first = _padded(batch.layers, inputs[0]) if settings.mode == "gauge" else {}
    modules = first, *(_modules(batch, i, inputs[i], pair, settings.mode) for i, (pair, _) in enumerate(pairs, 1))
    moved = torch.stack([_moved(batch, i, change) for i, change in enumerate(modules)], 1)
    measures = [measured for _, measured in pairs]
    return _Aligned(
        AlignedBatch(batch.layers, bucket.positions, batch.problem.energies.cpu(), moved, measures), modules
    )


def _on_cpu(factors: Rewritten, measures: Measures) -> tuple[Rewritten, Measures]:
    return map_tensors(factors, Tensor.cpu), {name: value.cpu() for name, value in measures.items()}


def _gauge(batch: CoreBatch, i: int, general: bool) -> tuple[Rewritten, Measures]:
    first, second = as_filed(batch, 0), as_filed(batch, i)
    even, other = balanced(batch, 0), balanced(batch, i).rewritten
    T, inverse = balancing(first.factors, even)
    target = first.factors.times(T, inverse)
    near = orthogonal_gauge(first.factors, second.factors)
    gauges = {"orthogonal": orthogonal_gauge(target, other.factors)}
    if general:
        gauges["general"] = general_gauge(target, other.factors)
    best, measures = second, {}
    error, measures["target"] = averaging_error(first.factors, second.factors)
    measures["files"] = error
    best, error = _better(first.factors, best, error, second.times(near.right, near.left))
    for name, gauge in gauges.items():
        best, error = _better(first.factors, best, error, other.times(gauge.right @ inverse, T @ gauge.left))
        measures[name] = error
    for key in ("mismatch", "gradient", "steps", "converged", "condition"):
        measures[key] = getattr(gauges["general" if general else "orthogonal"], key)
    return best, measures


def _better(first: Factors, one: Rewritten, error: Tensor, other: Rewritten) -> tuple[Rewritten, Tensor]:
    """In every module the one of two whose average with the first errs less, and its error (b,)."""
    smaller = averaging_error(first, other.factors)[0]
    rows = (smaller < error).nonzero().squeeze(-1)
    return scatter_rows(one, rows, select_rows(other, rows)), torch.minimum(error, smaller)


def _subspace(batch: CoreBatch, i: int) -> tuple[Rewritten, Measures]:
    first, second = balanced(batch, 0), balanced(batch, i)
    P, W, raised = nearest_in_class(first, second)
    result, update = second.rewritten.times(P, W), first.factors.update()
    measures = {
        "target": update.square().sum((-2, -1)),
        "before": (second.factors.update() - update).square().sum((-2, -1)),
        "after": (result.factors.update() - update).square().sum((-2, -1)),
        "raised": raised,
    }
    shared = torch.minimum(first.kept.sum(-1), second.kept.sum(-1))
    for side, X, Y in zip(("left", "right"), first.frames(), second.frames(), strict=True):
        measures[side] = (X.mT @ Y).square().sum((-2, -1)) / shared
    return result, measures


def _modules(batch: CoreBatch, i: int, adapter: Adapter, factors: Rewritten, mode: str) -> dict[str, Module]:
    """The modules of an adapter that change, from the factors in its file alone."""
    modules = {}
    for layer, P, W in zip(batch.layers, factors.from_up, factors.from_down, strict=True):
        k, scale = layer.ranks[i], layer.scales[0] if mode == "gauge" else 1.0
        if k == 0 or layer.ranks[0] == 0 or scale == 0:
            continue
        module, rank = adapter.modules[layer.name], max(layer.ranks) if mode == "gauge" else k
        dtype, root = torch.promote_types(module.up.dtype, torch.float32), math.sqrt(abs(scale))
        up = (layer.ups[i].double() @ P[:k, :rank] / math.copysign(root, scale)).to(dtype)
        down = (W[:rank, :k] @ layer.downs[i].double() / root).to(dtype)
        bias = None if module.bias is None else (module.scale / scale * module.bias.double()).to(dtype)
        modules[layer.name] = replace(module, up=up, down=down, scale=scale, bias=bias)
    return modules


def _padded(layers: Sequence[Layer], adapter: Adapter) -> dict[str, Module]:
    """Its modules of lower rank than another adapter has there, with zeros up to that."""
    modules = {}
    for layer in layers:
        if 0 < layer.ranks[0] < max(layer.ranks):
            module, missing = adapter.modules[layer.name], max(layer.ranks) - layer.ranks[0]
            up, down = pad(module.up, (0, missing)), pad(module.down, (0, 0, 0, missing))
            modules[layer.name] = replace(module, up=up, down=down)
    return modules


def _moved(batch: CoreBatch, i: int, modules: Mapping[str, Module]) -> Tensor:
    """‖ΔW' - ΔW‖² of the rounded factors, from Gram matrices: relative to ‖ΔW‖², resolved to about 10⁻¹⁶.  (b,)"""
    result = torch.zeros(len(batch.layers), dtype=torch.float64)
    for row, layer in enumerate(batch.layers):
        if module := modules.get(layer.name):
            X = torch.cat([module.scale * module.up.double(), -layer.scales[i] * layer.ups[i].double()], 1)
            Y = torch.cat([module.down.double(), layer.downs[i].double()])
            result[row] = ((X.mT @ X) * (Y @ Y.mT)).sum().clamp_min(0)
    return result


def _rewritten(adapter: Adapter, changed: Mapping[str, Module]) -> Adapter:
    """The adapter with these modules in place of its own."""
    modules = {**adapter.modules, **changed}
    ranks = [module.rank for module in modules.values()]
    alphas = [module.rank * module.scale for module in modules.values()]
    return replace(adapter, modules=modules, metadata=merged_metadata([adapter], [1.0], ranks, alphas), path=None)
