"""The page: its template, style and scripts, and the data, in one file that needs no other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorafold.adapters.atomic import write_text
from lorafold.report.page.grids import Grids
from lorafold.report.page.payload import payload
from lorafold.report.self_contained import self_contained

_HERE = Path(__file__).resolve().parent
_STYLES = ("page", "figures")
_BASES = ("data", "format", "dom", "colour", "order", "state", "chart")
_VIEWS = ("heading", "matrices", "overview", "heatmap", "module", "angles", "bars", "table")
_SCRIPTS = (*_BASES, *_VIEWS, "main")  # in this order they make one script: "main" starts it


def write_page(path: Path, metrics: Mapping[str, Any], grids: Grids) -> None:
    """Write the page in one step: the file is there as a whole or not at all.

    Args:
        path: of the page.
        metrics: the content of `metrics.json` of a comparison; or of a merge, compared in the same way with the merged
            adapter as the last input ("role": "merged"): the page sets before and after side by side then.
        grids: φ(i, j) in [0, 1] of shape (k, l), by pair of inputs, module name, and "left" or "right"; any may lack.
    """
    write_text(path, page(metrics, grids))


def page(metrics: Mapping[str, Any], grids: Grids) -> str:
    """The text of the page."""
    content = payload(metrics, grids)
    styles = [(_HERE / f"{name}.css").read_text(encoding="utf-8") for name in _STYLES]
    scripts = [_HERE / "script" / f"{name}.js" for name in _SCRIPTS]
    return self_contained(_HERE / "page.html", styles, scripts, _title(content), content)


def _title(content: Mapping[str, Any]) -> str:
    names = ", ".join(adapter["name"] for adapter in content["adapters"])
    return f"lorafold {content['command'] or ''}: {names}"
