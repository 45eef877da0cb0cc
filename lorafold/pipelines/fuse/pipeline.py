"""Fusing: adapters -> the tensors of a model that they change -> a copy of the model, tensor by tensor.

Few tensors are in memory at a time: one is written while the next two are computed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from torch import Tensor

from lorafold.adapters import Adapter
from lorafold.adapters.checkpoints.checkpoint import open_checkpoint
from lorafold.adapters.checkpoints.layout import Layout, layout_of
from lorafold.adapters.checkpoints.write import write_changed
from lorafold.adapters.files.atomic import staged
from lorafold.adapters.formats.fingerprint import unchanged
from lorafold.adapters.save import check_not_input
from lorafold.adapters.selection import recorded
from lorafold.common.errors import LorafoldError
from lorafold.common.homes import with_home
from lorafold.common.parallel import map_ahead
from lorafold.common.progress import Progress, Stage, listening
from lorafold.common.settings import apply_changes
from lorafold.common.stopwatch import Stopwatch
from lorafold.layers.line_up import check_list
from lorafold.pipelines._metrics import input_entry
from lorafold.pipelines._tables import data_frame
from lorafold.pipelines.extract.metrics import model_entry
from lorafold.pipelines.fuse.adapters import read_adapter
from lorafold.pipelines.fuse.metrics import fused_entries, totals
from lorafold.pipelines.fuse.places import Placed, places_of
from lorafold.pipelines.fuse.plan import FusePlan, make_fuse_plan
from lorafold.pipelines.fuse.settings import FuseOptions, FuseSettings
from lorafold.pipelines.fuse.tensor import Fused, fused
from lorafold.pipelines.fuse.updates import updates_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FusedModel:
    """A model that was written, and what became of each of its tensors that changed."""

    path: Path
    tensors: tuple[Fused, ...]
    in_all: int
    seconds: dict[str, float]
    left_out: tuple[str, ...] = ()  # layers of the adapters

    def metrics(self) -> dict[str, Any]:
        """Summary and an entry per tensor, as plain JSON."""
        summary = {**totals(self.tensors, self.in_all, self.seconds), **recorded(self.left_out)}
        return {"summary": summary, "modules": fused_entries(self.tensors)}

    def to_pandas(self) -> Any:
        """A data frame with a row per tensor."""
        return data_frame(self.metrics()["modules"])


@dataclass(frozen=True)
class FuseResult:
    """A model and what adapters change in it, ready to be written: nothing is computed before."""

    layout: Layout
    adapters: tuple[Adapter, ...]
    plan: FusePlan
    places: Mapping[str, Sequence[Placed]] = field(repr=False)
    seconds: dict[str, float] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def write(self, path: str | Path, *, progress: Progress | bool | None = None) -> FusedModel:
        """Write the model: a file where the base is one, else a folder; as a whole or not at all.

        Raises:
            LorafoldError: an input in its place, something in the way, or the disk refuses.
        """
        target = with_home(path)
        check_target(target, self.layout, self.adapters)
        clock, tensors, files = Stopwatch(), list[Fused](), self.layout.checkpoint.files

        def change(names: Sequence[str]) -> Generator[Tensor]:
            for tensor, entry in map_ahead(self._fused, names, self.plan.device):
                tell(Stage.FUSE, len(tensors), len(names))
                tensors.append(entry)
                yield tensor

        try:
            with clock("fuse"), listening(progress) as tell, staged(target) as scratch:
                with unchanged((), [*files.tensors, *files.companions]):
                    write_changed(self.layout.checkpoint, self.places.keys(), change, scratch)
        except OSError as error:
            raise LorafoldError(
                f"cannot be written ({error})", path=target, remedy="Check free space and permissions."
            ) from error
        seconds = {**self.seconds, **clock.seconds}
        return FusedModel(target, tuple(tensors), len(self.layout.checkpoint.tensors), seconds, self.left_out)

    def _fused(self, name: str) -> tuple[Tensor, Fused]:
        return fused(name, self.places[name], self.layout, self.plan)

    def save(self, path: str | Path) -> Path:
        """Write the model: see `write`."""
        return self.write(path).path

    def metrics(self) -> dict[str, Any]:
        """The adapters and the base, as plain JSON."""
        return {
            "inputs": [input_entry(adapter, _energy(adapter)) for adapter in self.adapters],
            "base": model_entry(self.layout.checkpoint.files),
        }

    def __repr__(self) -> str:
        """One line: how many of the model's tensors change."""
        return f"FuseResult({len(self.places)} of {len(self.layout.checkpoint.tensors)} tensors)"


def fuse(
    base: str | Path,
    adapters: Sequence[str | Path | Adapter],
    settings: FuseSettings | None = None,
    **changes: Unpack[FuseOptions],
) -> FuseResult:
    """Write adapters into a model: W + Σ wᵢ ΔWᵢ of every layer that they change, exact but for one rounding.

    The result's `save` writes the model, tensor by tensor; all else in its files stays as it is.

    Args:
        base: a safetensors file or a folder, of transformers or diffusers; in shards too.
        adapters: files, folders or adapters in memory, in any format; one that was merged before, too.
        settings: all settings at once; None: the defaults.
        changes: single settings by name, e.g. weights=[0.7, 0.3]. `help(lorafold.FuseSettings)` lists them.

    Raises:
        LorafoldError: a mistake in the settings or the files, or a layer that the model does not have.
    """
    check_list(adapters)
    plan = make_fuse_plan(apply_changes(FuseSettings, settings, changes), len(adapters))
    check_base(base)
    clock = Stopwatch()
    with clock("read"):
        layout = layout_of(open_checkpoint(base))
        loaded, left_out = plan.selection.of([read_adapter(adapter, layout.checkpoint.path) for adapter in adapters])
        pairs = zip(loaded, plan.weights, strict=True)
        places = places_of([update for pair in pairs for update in updates_of(*pair)], layout)
    if foreign := layout.checkpoint.files.foreign:
        _log.warning(
            "%s: %d files of weights in other formats or copies, such as %s, are not the model's own and stay behind",
            layout.checkpoint.path,
            len(foreign),
            foreign[0].name,
        )
    return FuseResult(layout, tuple(loaded), plan, places, dict(clock.seconds), left_out)


def check_base(base: str | Path | None) -> None:
    """Raise LorafoldError unless a model is named."""
    if base is None or not str(base).strip():
        raise LorafoldError(
            f"base={base}, expected a model: a safetensors file or a folder",
            remedy="For example lorafold fuse base=BASE 'adapters=[a,b]' 'weights=[0.7,0.3]'.",
        )


def check_target(target: Path, layout: Layout, adapters: Sequence[Adapter]) -> None:
    """Raise LorafoldError where a model cannot be written, or over something that was read."""
    base = layout.checkpoint.path
    check_not_input(target, [base, *(adapter.path for adapter in adapters if adapter.path)])
    if base.resolve() in target.resolve().parents:
        raise LorafoldError("inside the base model's folder", path=target, remedy="Choose another output.")
    if base.is_file() and (target.suffix != ".safetensors" or target.is_dir()):
        raise LorafoldError(
            "not a file name for a model in one file", path=target, remedy="Name a file that ends in .safetensors."
        )
    if base.is_dir() and (target.suffix == ".safetensors" or target.is_file()):
        raise LorafoldError("not a folder name for a model in a folder", path=target, remedy="Name a folder.")
    if target.is_dir() and (others := _others(target, layout)):
        raise LorafoldError(
            f"the folder also holds {', '.join(others[:3])}", path=target, remedy="Choose another folder."
        )


def _others(target: Path, layout: Layout) -> list[str]:
    """What replacing a folder by the model would lose."""
    files = layout.checkpoint.files
    ours = {file.relative_to(files.path) for file in (*files.companions, *files.tensors)}
    theirs = (file.relative_to(target) for file in target.rglob("*") if not file.is_dir())
    return sorted(str(file) for file in theirs if file not in ours)


def _energy(adapter: Adapter) -> float:
    """Σ‖ΔW‖² of its factors, from Gram matrices."""
    return math.fsum(
        float(((m.up.double().mT @ m.up.double()) * (m.down.double() @ m.down.double().mT)).sum()) * m.scale**2
        for m in adapter.modules.values()
    )
