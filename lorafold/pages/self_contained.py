"""A page for the browser in one file: its template, style and scripts, and its data. It needs no other file.

Names, paths and metadata come from strangers' files. They reach a page as JSON in which no character can end the
script element, the scripts write them as text only, and the page forbids every script but its own.
"""

from __future__ import annotations

import html
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from string import Template
from typing import Any

_DOCUMENT = Path(__file__).resolve().parent / "document.html"


def self_contained(
    template: Path, styles: Sequence[str], scripts: Sequence[Path], title: str, content: Mapping[str, Any], **parts: str
) -> str:
    """The text of a page.

    Args:
        template: of the body, with the names of `parts`.
        styles: the text of the style sheets.
        scripts: in this order they make one script.
        title: any text.
        content: plain JSON for the scripts.
        parts: markup; what it holds of strangers' words is escaped already.
    """
    style = "\n".join(styles)
    script = "\n".join(path.read_text(encoding="utf-8") for path in scripts)
    return _template(_DOCUMENT).substitute(
        body=_template(template).substitute(parts),
        title=html.escape(title.encode("utf-8", "replace").decode("utf-8")),  # paths may hold what is no Unicode
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=embedded(content),
    )


def _template(path: Path) -> Template:
    return Template(path.read_text(encoding="utf-8"))


def embedded(content: Mapping[str, Any]) -> str:
    """JSON for the inside of a script element: without <, > and & it can neither end the element nor open a comment."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    """As a content security policy names a script or a style."""
    return b64encode(sha256(text.encode("utf-8")).digest()).decode("ascii")
