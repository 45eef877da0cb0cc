"""The page: its template, style and scripts, and the data, in one file that needs no other.

Module names, paths and metadata come from strangers' files. They reach the page as JSON in which no character
can end the script element, the scripts write them as text only, and the page forbids every script but its own.
"""

from __future__ import annotations

import html
import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from string import Template
from typing import Any

from lorafold.adapters.atomic import staged
from lorafold.report.page.grids import Grids
from lorafold.report.page.payload import payload

_HERE = Path(__file__).resolve().parent
_STYLES = ("page", "figures")
_BASES = ("data", "format", "dom", "colour", "state", "chart")
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
    text = page(metrics, grids)
    with staged(path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="\n")  # other line ends would change the hashes


def page(metrics: Mapping[str, Any], grids: Grids) -> str:
    """The text of the page."""
    content = payload(metrics, grids)
    style = "\n".join(_read(f"{name}.css") for name in _STYLES)
    script = "\n".join(_read(f"script/{name}.js") for name in _SCRIPTS)
    return Template(_read("page.html")).substitute(
        title=html.escape(_title(content)),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=embedded(content),
    )


def embedded(content: Mapping[str, Any]) -> str:
    """JSON for the inside of a script element: without <, > and & it can neither end the element nor open a comment."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _title(content: Mapping[str, Any]) -> str:
    names = ", ".join(adapter["name"] for adapter in content["adapters"])
    title = f"lorafold {content['command'] or ''}: {names}"
    return title.encode("utf-8", "replace").decode("utf-8")  # paths may hold what is no Unicode


def _hash(text: str) -> str:
    """As a content security policy names a script or a style."""
    return b64encode(sha256(text.encode("utf-8")).digest()).decode("ascii")


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
