"""The page: its template, style and scripts, and the data, in one file that needs no other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorafold.adapters.files.atomic import write_text
from lorafold.pages.overlap.grids import Grids
from lorafold.pages.overlap.payload import payload
from lorafold.pages.self_contained import self_contained

_HERE = Path(__file__).resolve().parent
_SHARED = _HERE.parent
_STYLES = ("page", "figures")
# In this order they make one script: "main" starts it.
_SCRIPTS = (
    _HERE / "script" / "data.js",
    *(_SHARED / "script" / f"{name}.js" for name in ("format", "dom", "colour", "order", "views")),
    *(_HERE / "script" / f"{name}.js" for name in ("state", "chart")),
    *(
        _HERE / "script" / f"{name}.js"
        for name in ("heading", "result", "matrices", "overview", "heatmap", "module", "angles")
    ),
    *(_HERE / "script" / f"{name}.js" for name in ("bars", "table", "main")),
)


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
    styles = [(_SHARED / f"{name}.css").read_text(encoding="utf-8") for name in _STYLES]
    return self_contained(_HERE / "page.html", styles, _SCRIPTS, _title(content), content)


def _title(content: Mapping[str, Any]) -> str:
    names = ", ".join(adapter["name"] for adapter in content["adapters"])
    return f"lorafold {content['command'] or ''}: {names}"
