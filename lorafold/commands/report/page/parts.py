"""The numbers of the parts of the model in one run: the columns of a table of colours."""

from __future__ import annotations

from typing import NamedTuple

from lorafold.commands.report.sweep import Numbers
from lorafold.commands.report.sweep.finished_run import SIDES


class Column(NamedTuple):
    """One number of every part: its heading in two lines, and where it is."""

    heading: str
    below: str
    measure: str  # "kept", "left", "right" or "error"
    adapter: int

    def of(self, numbers: Numbers) -> float | None:
        """The number; None where the part has none."""
        if self.measure == "error":
            return numbers.error
        values = numbers.kept if self.measure == "kept" else numbers.phi_of(self.measure)
        return values[self.adapter] if self.adapter < len(values) else None


def columns(adapters: int) -> list[Column]:
    """What is kept of each adapter, φ to each, and the error."""
    kept = [Column("kept", f"of {i + 1}", "kept", i) for i in range(adapters)]
    phi = [Column(f"φ {side}", f"to {i + 1}", side, i) for side in SIDES for i in range(adapters)]
    return [*kept, *phi, Column("error", "", "error", 0)]
