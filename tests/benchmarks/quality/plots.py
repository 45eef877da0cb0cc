"""The comparison as one figure: what a merge keeps on average, in its worst task, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Json = Mapping[str, Any]
_METRICS = {"normalized": "normalized accuracy", "worst": "worst task"}
_COLORS = {"peft": "tab:gray", "lorafold": "tab:blue"}


def draw(result: Json, path: Path) -> None:
    """Write the figure: a row of panels per group; hollow marks are untuned, filled ones tuned."""
    from matplotlib.figure import Figure

    shown = {name: [row for row in group["rows"] if row["sets"]] for name, group in result["groups"].items()}
    heights = [1 + 0.2 * len(rows) for rows in shown.values()]
    figure = Figure(figsize=(11, sum(heights)), layout="constrained")
    panels = figure.subplots(len(shown), 3, squeeze=False, sharey="row", height_ratios=heights)
    for (name, rows), axes in zip(shown.items(), panels, strict=True):
        for axis, metric in zip(axes, _METRICS, strict=False):
            _draw_metric(axis, rows, metric)
        _draw_seconds(axes[2], rows)
        axes[0].set_title(f"{name}, {result['groups'][name]['sets']} sets", loc="left")
        axes[0].set_yticks(range(len(rows)), labels=[row["config"] for row in rows], fontsize="x-small")
        axes[0].invert_yaxis()
    figure.savefig(path, dpi=150)


def _draw_metric(axis: Any, rows: Sequence[Json], metric: str) -> None:
    for place, row in enumerate(rows):
        color = _COLORS[row["tool"]]
        for stage, fill, shift in (("untuned", "white", -0.15), ("tuned", color, 0.15)):
            found = row[stage][metric]
            axis.plot([found["low"], found["high"]], [place + shift] * 2, color=color, linewidth=1, zorder=1)
            axis.scatter(found["value"], place + shift, s=12, facecolor=fill, edgecolor=color, zorder=2)
    axis.set_xlabel(_METRICS[metric])
    axis.grid(axis="x", linewidth=0.3)


def _draw_seconds(axis: Any, rows: Sequence[Json]) -> None:
    colors = [_COLORS[row["tool"]] for row in rows]
    axis.scatter([row["seconds"] for row in rows], range(len(rows)), s=12, c=colors)
    axis.set(xlabel="seconds of the merge", xscale="log")
    axis.grid(axis="x", linewidth=0.3)
