"""The change of rank: file -> adapter -> core space -> truncated SVD of every update -> the same file, smaller.

b = modules of a batch, M = all modules, r = rank in the file, k = rank to keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from lorafold.adapters import Adapter, Module, save
from lorafold.adapters.selection import read_selection, recorded
from lorafold.common.device import Place, device_of
from lorafold.common.errors import LorafoldError
from lorafold.common.parallel import map_parallel
from lorafold.common.settings import apply_changes
from lorafold.common.stopwatch import Stopwatch
from lorafold.common.text import number, span
from lorafold.core_space import lift
from lorafold.layers.assemble import assemble
from lorafold.layers.line_up import line_up, load_all, non_finite_named
from lorafold.layers.ranks import budget_ranks, energy_ranks, ratio_ranks
from lorafold.layers.spectrum import Spectrum, singular_values, spectra
from lorafold.pipelines._metrics import read_from
from lorafold.pipelines._tables import data_frame
from lorafold.pipelines.resize.metrics import Resized, resize_metrics
from lorafold.pipelines.resize.settings import ResizeOptions, ResizeSettings

Factors = dict[str, tuple[Tensor, Tensor]]
SHARES = ("energy", "ratio", "parameters")


@dataclass(frozen=True)
class ResizeResult:
    """The smaller adapter, and what is left of each module."""

    adapter: Adapter
    source: Adapter
    settings: ResizeSettings
    modules: Resized
    seconds: dict[str, float]
    left_out: tuple[str, ...] = ()

    def metrics(self) -> dict[str, Any]:
        """Everything measured, as plain JSON: inputs, summary, modules."""
        metrics = resize_metrics(self.source, self.adapter, self.modules, self.seconds)
        metrics["summary"] |= recorded(self.left_out)
        return metrics

    def save(self, path: str | Path) -> Path:
        """Write the adapter, but not over the larger one: see `lorafold.save`."""
        return save(self.adapter, path, forbid=read_from([self.source], self.settings.base))

    def to_pandas(self) -> Any:
        """A data frame with a row per module: what `metrics()` has in `modules`."""
        return data_frame(self.metrics()["modules"])

    def __repr__(self) -> str:
        """One line: modules, ranks before and after, and the share of ‖ΔW‖² that is kept."""
        before, after = (span(m.rank for m in adapter.modules.values()) for adapter in (self.source, self.adapter))
        kept = number(self.metrics()["summary"]["retained"], 3)
        return f"ResizeResult({len(self.adapter.modules)} modules, rank {before} -> {after}, kept {kept})"


def resize(
    adapter: str | Path | Adapter, settings: ResizeSettings | None = None, **changes: Unpack[ResizeOptions]
) -> ResizeResult:
    """Give the modules of an adapter lower ranks, each update becoming its best approximation of that rank.

    That is the truncated singular value decomposition (Eckart & Young 1936), in core space hence exact, split evenly
    between the factors. Scales become 1; format, dtypes and everything else are kept. No rank is raised.

    Args:
        adapter: a file, a folder or an adapter in memory.
        settings: all settings at once; None: the defaults.
        changes: single settings by name, e.g. rank=16, parameters=0.5. `help(lorafold.ResizeSettings)` lists them.

    Raises:
        LorafoldError: a mistake in the settings or in the file.
    """
    chosen = apply_changes(ResizeSettings, settings, changes)
    device, selection = check_resize(chosen).device, read_selection(chosen.layers, chosen.exclude)
    clock = Stopwatch()
    with clock("read"):
        (source,), left_out = selection.of(load_all([adapter], chosen.base, chosen.input_rank))
        layers = line_up([source])
    with non_finite_named([source]):
        with clock("decompose"):
            parts = spectra(layers, device)
        sigma = singular_values(parts)
        ranks = _ranks(sigma, list(source.modules.values()), chosen)
        with clock("lift"):
            work = partial(_lift, source=source, ranks=ranks.tolist())
            factors = {name: pair for lifted in map_parallel(work, parts, device) for name, pair in lifted}
        smaller = assemble([source], [1.0], 1.0, {name: factors[name] for name in source.modules})
    with clock("measure"):
        pairs = [(source.modules[name], module) for name, module in smaller.modules.items()]
        errors = torch.stack(list(map_parallel(_error, pairs, torch.device("cpu"))))
    return ResizeResult(smaller, source, chosen, Resized(sigma, ranks, errors), dict(clock.seconds), left_out)


def check_resize(settings: ResizeSettings) -> Place:
    """Raise LorafoldError unless the settings say, in one way, how much to keep, and name a device that is there."""
    rank = settings.rank
    shares = {name: value for name in SHARES if (value := getattr(settings, name)) is not None}
    if len(shares) > 1 or not (shares or rank is not None):
        given = ", ".join(shares) if shares else "nothing"
        raise LorafoldError(
            f"{given} given, expected one of energy, ratio and parameters, or rank alone",
            remedy="For example rank=16, energy=0.95 or parameters=0.5.",
        )
    for name, value in shares.items():
        if not 0 < value <= 1:
            raise LorafoldError(
                f"{name}={value}, expected a share above 0, at most 1", remedy=f"For example {name}=0.5."
            )
    if rank is not None and rank < 1:
        raise LorafoldError(f"rank={rank}, expected at least 1", remedy="For example rank=16.")
    read_selection(settings.layers, settings.exclude)
    return Place(device_of(settings.device))


def _ranks(sigma: Tensor, modules: Sequence[Module], settings: ResizeSettings) -> Tensor:
    """k of every module.  (M,)"""
    ranks = torch.tensor([module.rank for module in modules])
    most = ranks if settings.rank is None else ranks.clamp_max(settings.rank)
    if settings.energy is not None:
        return torch.minimum(energy_ranks(sigma, settings.energy), most)
    if settings.ratio is not None:
        return torch.minimum(ratio_ranks(sigma, settings.ratio), most)
    if settings.parameters is not None:
        costs = torch.tensor([sum(module.shape) for module in modules])
        budget = _budget(settings.parameters, int((ranks * costs).sum()), int(costs.sum()))
        return budget_ranks(sigma, costs, budget, settings.rank)
    return most


def _budget(share: float, rank: int, least: int) -> int:
    """In parameters; every module takes a rank of 1 at the least."""
    if share * rank < least:
        raise LorafoldError(
            f"parameters={share} is less than what rank 1 in every module takes ({least} of {rank} parameters)",
            remedy=f"Ask for parameters={least / rank:.2g} or more.",
        )
    return int(share * rank)


def _lift(part: Spectrum, source: Adapter, ranks: Sequence[int]) -> list[tuple[str, tuple[Tensor, Tensor]]]:
    """Up (m, k) and down (k, n) of the modules of a part, in the dtype that they had."""
    kept = [ranks[position] for position in part.positions]
    dtypes = [source.modules[layer.name].up.dtype for layer in part.batch.layers]
    X, Y = (side[:, :, : max(kept)] for side in (part.factors.factors.up, part.factors.factors.down))
    ups, downs = lift(part.batch, X, Y, reduce(torch.promote_types, dtypes))
    return [
        (layer.name, (up[:, :k].to(dtype).contiguous(), down[:k].to(dtype).contiguous()))
        for layer, up, down, k, dtype in zip(part.batch.layers, ups.factors, downs.factors, kept, dtypes, strict=True)
    ]


def _error(pair: tuple[Module, Module]) -> Tensor:
    """‖ΔW' - ΔW‖² of the factors as they are written, from Gram matrices."""
    before, after = pair
    X = torch.cat([after.scale * after.up.double(), -before.scale * before.up.double()], 1)
    Y = torch.cat([after.down.double(), before.down.double()])
    return ((X.mT @ X) * (Y @ Y.mT)).sum().clamp_min(0)
