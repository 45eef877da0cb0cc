"""The measurements as one figure: where the time goes, and how it grows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Json = Mapping[str, Any]
_STAGES = ("read", "gram", "solve", "core", "lift", "write")
_QUESTIONS: dict[str, tuple[str, str, Callable[[Json], float]]] = {
    "modules": ("more modules, 1280 x 1280", "modules", lambda case: case["modules"]),
    "m+n": ("longer sides, m n fixed", "m + n", lambda case: case["widths"] / case["modules"]),
    "adapters": ("more adapters of rank 16, 33 layers", "adapters", lambda case: len(case["ranks"])),
    "mn": ("larger ΔW, m + n fixed", "m n / 10⁶", lambda case: case["numbers"] / case["modules"] / 1e6),
}


def check_matplotlib() -> None:
    """Raise SystemExit, before anything is measured, if the figure could not be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise SystemExit("matplotlib draws the figure but is not installed: pip install matplotlib") from None


def draw(result: Json, path: Path) -> None:
    """Write the figure."""
    from matplotlib.figure import Figure

    panels = bool(result["cases"]) + len(result["scaling"])
    figure = Figure(figsize=(4.4 * panels, 3.8), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    if result["cases"]:
        _draw_stages(axes.pop(0), result["cases"])
    for axis, (question, cases) in zip(axes, result["scaling"].items(), strict=True):
        _draw_scaling(axis, question, cases)
    figure.savefig(path, dpi=150)


def _draw_stages(axis: Any, cases: Json) -> None:
    """One bar per case, in multiples of its floor."""
    left = [0.0] * len(cases)
    merges = [case["lorafold"][_objective(cases)] for case in cases.values()]
    floors = [case["floor"]["seconds"]["median"] for case in cases.values()]
    for stage in _STAGES:
        widths = [merge["stages"].get(stage, 0.0) / floor for merge, floor in zip(merges, floors, strict=True)]
        axis.barh(list(cases), widths, left=left, height=0.6, label=stage)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axis.axvline(1, color="black", linewidth=0.8, linestyle=":")
    rows = max(3, len(cases))  # a single bar is not to fill the panel
    axis.set(title=f"{_objective(cases)}: where the time goes", xlabel="times the floor", ylim=(rows - 0.4, -0.6))
    axis.legend(frameon=False, fontsize="small", ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.15))


def _objective(cases: Json) -> str:
    """The first one measured: chordal by default."""
    return next(iter(next(iter(cases.values()))["lorafold"]))


def _draw_scaling(axis: Any, question: str, cases: Sequence[Json]) -> None:
    """Both axes logarithmic: what grows in proportion has the slope of the dotted line."""
    title, label, abscissa = _QUESTIONS[question]
    x = [abscissa(case) for case in cases]
    lines = {
        "svd_lowrank": [case["rivals"]["svd_lowrank"]["seconds"] for case in cases],
        "lorafold, chordal": [case["lorafold"]["chordal"]["seconds"]["median"] for case in cases],
        "without solver": [_without_solver(case["lorafold"]["chordal"]) for case in cases],
        "floor": [case["floor"]["seconds"]["median"] for case in cases],
    }
    for name, y in lines.items():
        axis.plot(x, y, marker="o", label=name)
    start = lines["floor"][0] / 2
    axis.plot([x[0], x[-1]], [start, start * x[-1] / x[0]], color="black", linewidth=0.8, linestyle=":")
    axis.set(title=title, xlabel=label, ylabel="seconds", xscale="log", yscale="log")
    axis.set_xticks(x, labels=[f"{value:.3g}" if value < 100 else f"{value:.0f}" for value in x])
    axis.minorticks_off()
    axis.legend(frameon=False, fontsize="small", ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.15))


def _without_solver(merge: Json) -> float:
    return merge["seconds"]["median"] - merge["stages"]["solve"]
