"""One self-contained HTML page about a sweep, and its figures: open from disk, ask for nothing, hide nothing."""

from __future__ import annotations

from lorafold.commands.report.page.document import write_page as write_page
from lorafold.commands.report.page.files import write_figures as write_figures

__all__ = ["write_figures", "write_page"]
