"""One self-contained HTML page about the overlap of adapters: opens from disk, asks for nothing, hides nothing."""

from __future__ import annotations

from lorafold.pages.overlap.document import write_page as write_page

__all__ = ["write_page"]
