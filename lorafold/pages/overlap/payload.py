"""What a page shows, as JSON: the content of `metrics.json` by columns, and the φ(i, j) of every module.

Anything may be missing or null in the metrics; it is null on the page then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lorafold.common.text import short_names
from lorafold.pages.overlap.angles import RIGHT_ANGLE, Dimensions, histogram, random_pair, representative
from lorafold.pages.overlap.grids import SIDES, Grids, packed_grid, step_of
from lorafold.pages.packing import packed, plain
from lorafold.pipelines.compare.metrics import NULL_KEYS

Json = dict[str, Any]
Pair = tuple[int, int]

_NUMBERED = re.compile(r"(.*?) *(\d+)(?:-\d+)?")  # the label of a block, or of neighbours
_MODULE = ("name", "group", "kind", "shape", "ranks", "numerical_ranks", "norms")
_PAIR = ("cosine", "norm_ratio")
_RANDOM = ("random", "random_z", "random_p", "random_p_adjusted")
_SIDE = ("k", "l", "phi", "phi_grid_mean", *NULL_KEYS, *_RANDOM)
_MATRICES = ("phi_matrix", "random_matrix", "cosine_matrix")


def payload(metrics: Mapping[str, Any], grids: Grids) -> Json:
    """One mapping for the whole page.

    Args:
        metrics: of a comparison, or of a merge with the merged adapter as the last input and what it came to as
            "result" (see `lorafold.commands.merge.page`).
        grids: φ(i, j) by pair, module and side.
    """
    summary, modules = metrics.get("summary") or {}, _in_order(metrics.get("modules") or [])
    step = step_of(grids)
    pairs = [_pair(entry, summary, modules, grids, step) for entry in summary.get("pairs") or []]
    content = {
        "command": metrics.get("command"),
        "result": metrics.get("result"),
        "adapters": _adapters(metrics.get("inputs") or []),
        "panel": metrics.get("panel") or [],
        "modules": {key: _column(modules, key) for key in _MODULE},
        "pairs": pairs,
        "step": step,
        "bands": _random_bands(pairs),
        **{key: summary.get(key) for key in _MATRICES},
        "run": {key: metrics.get(key) for key in ("environment", "config")}
        | {key: summary.get(key) for key in ("seconds", "peak_rss_mb")},
    }
    return plain(content)


def _in_order(modules: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Parts of the model as they are met, their blocks by number: 2 before 10, which files sort as text."""
    blocks = [_NUMBERED.fullmatch(module.get("group") or "") for module in modules]
    parts = [
        (match[1], int(match[2])) if match else (module.get("group"), 0)
        for match, module in zip(blocks, modules, strict=True)
    ]
    met = list(dict.fromkeys(part for part, _ in parts))
    order = sorted(range(len(modules)), key=lambda m: (met.index(parts[m][0]), parts[m][1]))
    return [modules[m] for m in order]


def _adapters(inputs: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The inputs with a short name each, and the number by which figures refer to them."""
    names = short_names([entry.get("path") for entry in inputs])
    merged = [entry.get("role") == "merged" for entry in inputs]
    return [
        {**entry, "name": "merged" if is_merged else name, "label": "merged" if is_merged else str(number)}
        for number, (entry, name, is_merged) in enumerate(zip(inputs, names, merged, strict=True), 1)
    ]


def _pair(
    entry: Mapping[str, Any], summary: Mapping[str, Any], modules: Sequence[Mapping[str, Any]], grids: Grids, step: int
) -> Json:
    pair: Pair = tuple(entry["pair"])
    measured = [_of_pair(module, pair) for module in modules]
    by_name = grids.get(pair, {})
    sides = {}
    for index, side in enumerate(SIDES):
        measures = [module.get(side) or {} for module in measured]
        widths = [(module.get("shape") or (None, None))[index] for module in modules]
        sides[side] = _side(measures, widths)
        cells = (by_name.get(module["name"], {}).get(side) for module in modules)
        sides[side]["grids"] = [packed_grid(grid, step) for grid in cells]
    rows = {key: list(_rows(summary.get(key) or [], pair)) for key in ("groups", "kinds")}
    return {"pair": pair, "summary": entry, **rows, **{key: _column(measured, key) for key in _PAIR}, **sides}


def _side(measures: Sequence[Mapping[str, Any]], widths: Sequence[int | None]) -> Json:
    """Columns over the modules of one side of a pair; `sizes` are the n, i, j of the modules with random bands."""
    sizes = [_dimensions(entry, n) for entry, n in zip(measures, widths, strict=True)]
    angles = [sorted(value for value in entry.get("angles") or [] if value is not None) for entry in measures]
    measured = [(size, values) for size, values in zip(sizes, angles, strict=True) if size and values]
    distances = dict.fromkeys(name for entry in measures for name in entry.get("distances") or {})
    return {
        **{key: _column(measures, key) for key in _SIDE},
        "angles": [packed(np.rad2deg(values), RIGHT_ANGLE, "<u2") if values else None for values in angles],
        "distances": {name: [(entry.get("distances") or {}).get(name) for entry in measures] for name in distances},
        "histogram": histogram(measured),
        "sizes": sorted(representative(measured)),
    }


def _random_bands(pairs: Sequence[Json]) -> Json:
    """Where nine of ten random pairs lie, angle by angle, for every n, i, j of the modules."""
    sizes = {size for pair in pairs for side in SIDES for size in pair[side]["sizes"]}
    bands = {size: random_pair(*size) for size in sorted(sizes)}
    return {
        ",".join(map(str, size)): [packed(band.low, RIGHT_ANGLE, "<u2"), packed(band.high, RIGHT_ANGLE, "<u2")]
        for size, band in bands.items()
    }


def _dimensions(entry: Mapping[str, Any], n: int | None) -> Dimensions | None:
    i, j = entry.get("k"), entry.get("l")
    return (n, i, j) if n and i and j and max(i, j) <= n else None


def _rows(entries: Sequence[Mapping[str, Any]], pair: Pair) -> Iterator[Json]:
    """What a table of groups or kinds says about one pair."""
    for entry in entries:
        for pair_entry in entry["pairs"]:
            if tuple(pair_entry["pair"]) == pair:
                yield {
                    **pair_entry,
                    "label": entry["group"],
                    "modules": pair_entry.get("modules", entry.get("modules")),
                }


def _of_pair(module: Mapping[str, Any], pair: Pair) -> Mapping[str, Any]:
    return next((entry for entry in module.get("pairs") or [] if tuple(entry["pair"]) == pair), {})


def _column(entries: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    return [entry.get(key) for entry in entries]
