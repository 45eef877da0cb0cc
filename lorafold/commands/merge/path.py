"""Merges along the path from one adapter to the other: `lorafold merge path=11`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich import box
from rich.table import Table

from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.run import merge
from lorafold.common.errors import LorafoldError
from lorafold.console.tables import Console, relative_to_cwd, say
from lorafold.runs.csv_table import write_csv
from lorafold.runs.inputs import adapter_paths
from lorafold.runs.record import write_resolved
from lorafold.runs.run import Run

Point = dict[str, float | int | None]  # a row of path.csv


def follow_path(run: Run, config: MergeConfig) -> list[Point]:
    """Merge with the weights (1 - t, t) for `path` values of t from 0 to 1, each as a run in a folder `t0.300`.

    With core=sum and reconstruction=mean the ends are the best approximations of the inputs of the chosen rank.
    `path.csv` says along t how much the merged subspaces overlap with those of either adapter, and what they keep.

    Args:
        run: the folders of the points lie in its folder.
        config: weights and output are not for it to choose; no pages are written.

    Raises:
        LorafoldError: as `lorafold.commands.merge.run.merge`; fewer than two points, or not two adapters.
    """
    count = _checked(run, config)
    run.announce(config.adapters)
    points, metrics = [], {}
    for step in range(count):
        t = step / (count - 1)
        weights = [(count - 1 - step) / (count - 1), t]
        folder = run.folder / f"t{t:.3f}"
        folder.mkdir(exist_ok=True)
        here = replace(run, folder=folder, overrides=[f"weights=[{weights[0]:.4g},{weights[1]:.4g}]"], alone=False)
        metrics = merge(here, replace(config, weights=weights, page=False))
        points.append(_point(t, metrics["summary"]))
    write_csv(run.folder / "path.csv", list(points[0]), (list(point.values()) for point in points))
    write_resolved(run.folder / "resolved.yaml", "merge", {**metrics["config"], "weights": None, "path": count})
    if run.alone:
        _show(points, relative_to_cwd(str(run.folder)))
    return points


def _checked(run: Run, config: MergeConfig) -> int:
    """The number of points."""
    count = config.path or 0
    if not 2 <= count <= 1001:
        raise LorafoldError(f"path={count}, expected 2 to 1001 points", remedy="For example path=11.")
    adapters = len(adapter_paths(config.adapters, run.base))
    if adapters != 2:
        raise LorafoldError(f"path={count} with {adapters} adapters, expected 2", remedy="It leads from one to one.")
    for name, value in (("weights", config.weights), ("output", config.output)):
        if value is not None:
            raise LorafoldError(f"path={count} and {name}={value!r}", remedy=f"Along a path, leave out {name}.")
    return count


def _point(t: float, summary: Mapping[str, Any]) -> Point:
    values: Point = {"t": t}
    for side in ("left", "right"):
        values |= {f"phi_{side}_{i}": phi for i, phi in enumerate(summary["phi"][side], 1)}
    values |= {f"retained_{i}": share for i, share in enumerate(summary["retained"], 1)}
    return values | {key: summary[key] for key in ("reconstruction_error", "objective", "converged", "modules")}


def _show(points: Sequence[Point], folder: str) -> None:
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    heads = ("phi left\n#1", "\n#2", "phi right\n#1", "\n#2", "kept\n#1", "\n#2", "\nerror")
    for head in ("\nt", *heads):
        table.add_column(head, justify="right")
    for point in points:
        table.add_row(*("-" if value is None else f"{value:.3f}" for value in list(point.values())[: len(heads) + 1]))
    console = Console(highlight=False)
    console.print(table)
    say(console, f"merged adapters: {folder}/t*")
