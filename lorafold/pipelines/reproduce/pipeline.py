"""The repetition: what a finished merge has recorded -> the same merge again -> both adapters, module by module."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

from lorafold.adapters import load
from lorafold.common.errors import LorafoldError
from lorafold.common.homes import with_home
from lorafold.common.parallel import cpu_threads
from lorafold.common.progress import Progress
from lorafold.common.settings import apply_changes
from lorafold.pipelines._tables import data_frame
from lorafold.pipelines.merge.pipeline import MergeResult, merge
from lorafold.pipelines.reproduce.agreement import Agreement, agreements, verdict
from lorafold.pipelines.reproduce.record import adapter_of, check_inputs, read_record, settings_of
from lorafold.pipelines.reproduce.settings import ReproduceOptions, ReproduceSettings


@dataclass(frozen=True)
class ReproduceResult:
    """The merge again, and how its adapter agrees with the one of then, per module."""

    again: MergeResult
    modules: tuple[Agreement, ...]
    tolerance: float

    @property
    def verdict(self) -> str:
        """`identical`, to the bit; `equal`, within the tolerance; or `different`."""
        return verdict(self.modules, self.tolerance)

    @property
    def angle(self) -> float:
        """The largest principal angle between the subspaces of then and now, in radians."""
        return max(module.angle for module in self.modules)

    @property
    def difference(self) -> float:
        """The largest relative difference of an update."""
        return max(module.difference for module in self.modules)

    def metrics(self) -> dict[str, Any]:
        """Everything measured, as plain JSON: summary, modules."""
        names = ("verdict", "angle", "difference")
        return {
            "summary": {**{name: getattr(self, name) for name in names}, "modules": len(self.modules)},
            "modules": [asdict(module) for module in self.modules],
        }

    def to_pandas(self) -> Any:
        """A data frame with a row per module: what `metrics()` has in `modules`."""
        return data_frame(self.metrics()["modules"])

    def __repr__(self) -> str:
        """One line: the verdict, modules, and the largest deviations."""
        deviations = f"angle {self.angle:.1e} rad, difference {self.difference:.1e}"
        return f"ReproduceResult({self.verdict}, {len(self.modules)} modules, {deviations})"


def reproduce(
    run: str | Path,
    settings: ReproduceSettings | None = None,
    *,
    progress: Progress | bool | None = None,
    **changes: Unpack[ReproduceOptions],
) -> ReproduceResult:
    """Merge again as a finished run of `lorafold merge` did, and compare the adapters. The run stays as it is.

    Args:
        run: the folder that the run left.
        settings: all settings at once; None: the defaults.
        progress: as of `merge`.
        changes: single settings by name, e.g. tolerance=1e-6. `help(lorafold.ReproduceSettings)` lists them.

    Raises:
        LorafoldError: no finished merge there, its inputs have changed since, or a mistake in the settings.
    """
    chosen = apply_changes(ReproduceSettings, settings, changes)
    check_tolerance(chosen.tolerance)
    folder = with_home(run)
    record = read_record(folder)
    check_inputs(record)
    then = load(adapter_of(folder, record))
    with cpu_threads(chosen.threads or record["config"]["threads"]):
        result = merge([entry["path"] for entry in record["inputs"]], settings_of(record), progress=progress)
    with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:  # through a file, as the one of then went
        now = load(result.save(Path(scratch) / adapter_of(folder, record).name))
        modules = agreements(then, now)
    return ReproduceResult(result, tuple(modules), chosen.tolerance)


def check_tolerance(tolerance: float) -> None:
    """Raise LorafoldError unless it is a number from 0 on."""
    if not tolerance >= 0:
        raise LorafoldError(f"tolerance={tolerance}, expected >= 0", remedy="For example tolerance=1e-3.")
