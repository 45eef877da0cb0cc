"""What is in an adapter: file -> modules, their ranks, scales and singular values, metadata, and what looks wrong.

M = modules, r = largest rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from lorafold.adapters import Adapter, Module
from lorafold.adapters.files.open_adapter import open_adapter
from lorafold.adapters.formats.registry import format_of
from lorafold.common.errors import LorafoldError
from lorafold.common.homes import with_home
from lorafold.common.settings import apply_changes
from lorafold.layers.line_up import line_up, non_finite_named
from lorafold.layers.spectrum import singular_values, spectra
from lorafold.pipelines._tables import data_frame
from lorafold.pipelines.inspect.metrics import Findings, inspect_metrics
from lorafold.pipelines.inspect.settings import InspectOptions, InspectSettings
from lorafold.pipelines.inspect.table import LEGEND, contents, inspect_table, words

# Numbers below this have fewer digits the smaller they are.
_SUBNORMAL = torch.finfo(torch.float16).tiny


@dataclass(frozen=True)
class InspectResult:
    """One adapter, looked at."""

    adapter: Adapter
    findings: Findings

    def metrics(self) -> dict[str, Any]:
        """Everything found, as plain JSON: summary, metadata, warnings, modules."""
        return inspect_metrics(self.adapter, self.findings)

    def to_pandas(self) -> Any:
        """A data frame with a row per module: what `metrics()` has in `modules`."""
        return data_frame(self.metrics()["modules"])

    def _repr_html_(self) -> str:
        """For notebooks: what the adapter is, what its file says, the table, and what looks wrong."""
        metrics = self.metrics()
        warnings = [f"warning: {warning}" for warning in metrics["warnings"]]
        notes = [contents(metrics), *words(metrics), *LEGEND.splitlines(), *warnings]
        return inspect_table(metrics["modules"]).html(repr(self), notes)

    def __repr__(self) -> str:
        """One line: the adapter, its norm, and how many warnings there are."""
        metrics = self.metrics()
        norm, count = metrics["summary"]["norm"], len(metrics["warnings"])
        return f"InspectResult({self.adapter}, norm {norm:.3g}, {count} warnings)"


def inspect(
    adapter: str | Path | Adapter, settings: InspectSettings | None = None, **changes: Unpack[InspectOptions]
) -> InspectResult:
    """Look at an adapter, damaged ones too: what it is, how large its updates are and which rank they have.

    Layers that are no plain pair of factors are looked at as the pair that `load` makes of them; of DoRA, for which
    that takes the base model, the update is the one before its magnitude is applied.

    Args:
        adapter: a file, a folder or an adapter in memory.
        settings: all settings at once; None: the defaults.
        changes: single settings by name: `help(lorafold.InspectSettings)` lists them.

    Raises:
        LorafoldError: nothing there, no complete safetensors file, of no known format, or no modules.
    """
    chosen = apply_changes(InspectSettings, settings, changes)
    whole, keys, size = (adapter, frozenset[str](), None) if isinstance(adapter, Adapter) else _read(adapter)
    settled = _settled(whole, chosen.input_rank)
    if not settled.modules:
        raise LorafoldError("holds no LoRA factors", path=settled.path, remedy="Choose the file with the LoRA weights.")
    finite = torch.tensor([_is_finite(module) for module in settled.modules.values()])
    with non_finite_named([settled]):
        sigma = _singular_values(settled, finite)
    findings = Findings(
        sigma=sigma,
        finite=finite,
        subnormal=torch.tensor([_subnormal(module) for module in settled.modules.values()]),
        keys=keys,
        bytes=size,
        pending=whole.pending,
    )
    return InspectResult(settled, findings)


def _read(path: str | Path) -> tuple[Adapter, frozenset[str], int]:
    """The adapter, its tensors' names, and the size of the file."""
    file = open_adapter(path)
    adapter = replace(format_of(file).read(file), path=with_home(path))
    return adapter, frozenset(file.tensors), sum(part.stat().st_size for part in file.files)


def _settled(adapter: Adapter, rank: int) -> Adapter:
    made = {name: pending.module(rank) for name, pending in adapter.pending.items()}
    return replace(adapter, modules={**adapter.modules, **made}, pending={})


def _is_finite(module: Module) -> bool:
    return all(bool(torch.stack(torch.aminmax(factor)).isfinite().all()) for factor in (module.up, module.down))


def _singular_values(adapter: Adapter, finite: Tensor) -> Tensor:
    """(M, r); zero where a module is not finite."""
    sound = [name for name, good in zip(adapter.modules, finite.tolist(), strict=True) if good]
    widest = max(module.rank for module in adapter.modules.values())
    sigma = torch.zeros(len(finite), widest, dtype=torch.float64)
    if sound:
        findings = _of_these(adapter, sound)
        sigma[finite, : findings.shape[1]] = findings
    return sigma


def _of_these(adapter: Adapter, names: Sequence[str]) -> Tensor:
    return singular_values(
        spectra(line_up([replace(adapter, modules={name: adapter.modules[name] for name in names})]))
    )


def _subnormal(module: Module) -> bool:
    """Whether most of a float16 factor's numbers, beside zeros, are subnormal."""
    return any(_mostly_subnormal(factor) for factor in (module.up, module.down) if factor.dtype == torch.float16)


def _mostly_subnormal(factor: Tensor) -> bool:
    size = factor.abs()
    present = int((size > 0).sum())
    return present > 0 and 2 * int(((size > 0) & (size < _SUBNORMAL)).sum()) > present
