"""What an inspection tells of one adapter, from its entry in `inspect.json` alone, 80 columns wide. Plain ASCII."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lorafold.console.tables import Console, amount, drawn, near, printable, say, span
from lorafold.pipelines.inspect.table import LEGEND, inspect_table

Metrics = Mapping[str, Any]  # of one adapter or of one module
MAX_TAGS = 8
WIDTH = 79


def show(adapter: Metrics, console: Console | None = None) -> None:
    """Print what the adapter is, what its file says, the table, and what looks wrong."""
    console = console or Console(highlight=False)
    say(console, _title(adapter), "bold")
    for line in (_contents(adapter), *_words(adapter)):
        say(console, line)
    console.print(drawn(inspect_table(adapter["modules"])))
    say(console, LEGEND, "dim")
    for warning in adapter["warnings"]:
        say(console, f"warning: {printable(warning, 500)}", "yellow")
    console.print()


def one_line(adapter: Metrics) -> str:
    """Format, base model, ranks, and how many warnings."""
    count = len(adapter["warnings"])
    return f"{_title(adapter)}; {_contents(adapter)}; {count} warning{'' if count == 1 else 's'}"


def _title(adapter: Metrics) -> str:
    base = adapter["base_model"]
    guess = f"{base['name']} (by {base['evidence']})" if base else "unknown base model"
    return f"{near(str(adapter['path']))}: {adapter['format']}, {printable(guess, 200)}"


def _contents(adapter: Metrics) -> str:
    summary = adapter["summary"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in summary["kinds"].items())
    size = "" if adapter["bytes"] is None else f", {amount(adapter['bytes'])}B"
    other = f", {summary['other_tensors']} other tensors" if summary["other_tensors"] else ""
    return (
        f"{summary['modules']} modules ({kinds}), rank {span(summary['ranks'])}, alpha {span(summary['alphas'])}, "
        f"{'/'.join(summary['dtypes'])}, {amount(summary['parameters'])} parameters{size}{other}"
    )


def _words(adapter: Metrics) -> Iterator[str]:
    """What the file says of itself, shortened to a line each."""
    metadata = adapter["metadata"]
    entries = {
        "title": metadata.get("modelspec.title") or metadata.get("ss_output_name"),
        "trained on": metadata.get("ss_sd_model_name"),
        "trigger words": adapter["trigger_phrase"],
        "frequent tags": ", ".join(f"{tag} {count}" for tag, count in adapter["tags"][:MAX_TAGS]),
        "merged from": metadata.get("modelspec.merged_from"),
    }
    yield from (printable(f"{name}: {text}", WIDTH) for name, text in entries.items() if text)
