"""What an inspection tells of one adapter, from its entry in `inspect.json` alone, 80 columns wide. Plain ASCII."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorafold.console.tables import Console, drawn, printable, relative_to_cwd, say
from lorafold.pipelines.inspect.table import LEGEND, contents, inspect_table, words

Metrics = Mapping[str, Any]  # of one adapter


def show(adapter: Metrics, console: Console | None = None) -> None:
    """Print what the adapter is, what its file says, the table, and what looks wrong."""
    console = console or Console(highlight=False)
    say(console, _title(adapter), "bold")
    for line in (contents(adapter), *words(adapter)):
        say(console, line)
    console.print(drawn(inspect_table(adapter["modules"])))
    say(console, LEGEND, "dim")
    for warning in adapter["warnings"]:
        say(console, f"warning: {printable(warning, 500)}", "yellow")
    console.print()


def one_line(adapter: Metrics) -> str:
    """Format, base model, ranks, and how many warnings."""
    count = len(adapter["warnings"])
    return f"{_title(adapter)}; {contents(adapter)}; {count} warning{'' if count == 1 else 's'}"


def _title(adapter: Metrics) -> str:
    base = adapter["base_model"]
    guess = f"{base['name']} (by {base['evidence']})" if base else "unknown base model"
    return f"{relative_to_cwd(str(adapter['path']))}: {adapter['format']}, {printable(guess, 200)}"
