"""One self-contained HTML page about a sweep, and its figures: open from disk, ask for nothing, hide nothing."""

from __future__ import annotations

from lorafold.commands.report.page.document import write_page as write_page
from lorafold.commands.report.page.files import NO_CHARTS as NO_CHARTS
from lorafold.commands.report.page.files import charts_available as charts_available
from lorafold.commands.report.page.files import draw as draw
from lorafold.commands.report.page.files import write_figures as write_figures

__all__ = ["NO_CHARTS", "charts_available", "draw", "write_figures", "write_page"]
