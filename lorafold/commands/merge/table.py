"""The table of a merge, from its metrics alone (the content of `metrics.json`), 80 columns wide, and what it means.

Plain ASCII, so that it survives every terminal, pipe and log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lorafold.commands.merge.closing import in_words, where
from lorafold.common.text import two_digits
from lorafold.console.tables import Console, drawn, relative_to_cwd, say
from lorafold.pipelines.merge.table import LEGEND, merge_table, total

Metrics = Mapping[str, Any]  # of a run, of its summary, or of one module


def show(metrics: Metrics, console: Console | None = None) -> None:
    """Print the table, which adapter is which, what did not converge; last what a person needs, in words."""
    console = console or Console(highlight=False)
    console.print(_title(metrics), style="bold", soft_wrap=True)
    console.print(drawn(merge_table(metrics)))
    console.print(LEGEND, style="dim", soft_wrap=True)
    for number, adapter in enumerate(metrics["inputs"], 1):
        gain = f", times {adapter['gain']:.3g}" if adapter.get("gain", 1) != 1 else ""
        line = f"#{number}: {relative_to_cwd(adapter['path'])} (rank {_span(adapter['ranks'])}{gain})"
        say(console, line)
    if rank := _rank(metrics):
        asked = metrics["config"]["rank"]
        say(console, f"rank: {rank}, the adapters' joint rank (rank={asked} would add zeros)")
    if calibrated := metrics["summary"].get("calibration"):
        console.print(_calibrated(calibrated, len(metrics["modules"])))
    if beside := metrics.get("residual"):
        share = _percent(metrics["summary"]["residual"])
        say(console, f"residual: {relative_to_cwd(beside['path'])} ({share} of the weighted sum's energy)")
    console.print(solved_by(metrics["summary"]))
    for warning in filter(None, (not_converged(metrics), undetermined(metrics))):
        console.print(warning, style="yellow", markup=False)
    say(console, "")
    for line in (*in_words(metrics), *where(metrics)):
        say(console, line)


def one_line(metrics: Metrics) -> str:
    """A run of a sweep: its total row in words."""
    summary = metrics["summary"]
    before, after, kept, error, converged = (" ".join(cell.split()) for cell in total(summary))
    phis = f"phi {before} before, {after} after"
    return ", ".join((phis, f"kept {kept}", f"error {error}", f"{converged} converged", _seconds(summary)))


def solved_by(summary: Metrics) -> str:
    """What found the subspaces, of how many modules, and how far they are from the global minimum at most."""
    words = [
        f"found by: {', '.join(f'{method} {count}' for method, count in summary['found_by'].items()) or 'unknown'}"
    ]
    if gap := summary["gap"]:
        words.append(f"within {_percent(gap['largest'])} of the global minimum (median {_percent(gap['median'])})")
    return "; ".join(words)


def _percent(share: float) -> str:
    return f"{two_digits(100 * share)} %"


def undetermined(metrics: Metrics) -> str:
    """Where other subspaces are as good, so that rounding decides; empty where none are."""
    tied = [module["name"] for module in metrics["modules"] if module["determined"] is False]
    if not tied:
        return ""
    listing = ", ".join(tied[:3]) + (", ..." if len(tied) > 3 else "")
    return f"not determined: {len(tied)} of {len(metrics['modules'])} modules ({listing}): other subspaces are as good"


def not_converged(metrics: Metrics) -> str:
    """Which modules did not converge, and what helps; empty when all did."""
    failed = [module["name"] for module in metrics["modules"] if not module["converged"]]
    if not failed:
        return ""
    solver = metrics["config"]["solver"]
    limit = next((key for key in solver if key.startswith("max_")), None)
    remedy = f"raise solver.{limit} (now {solver[limit]}) or loosen solver.tol" if limit else "try another solver"
    listing = ", ".join(failed[:3]) + (", ..." if len(failed) > 3 else "")
    return f"not converged: {len(failed)} of {len(metrics['modules'])} modules ({listing}): {remedy}"


def _calibrated(found: Metrics, count: int) -> str:
    """How many modules, and with which ridge."""
    alike = ", ".join(f"#{i + 1} and #{j + 1}" for i, j in found["shared_initialisation"])
    why = f" as {alike} share their initialisation" if alike else ""
    return (
        f"calibrated: {found['modules']} of {count} modules, ridge {found['ridge']:g}{why}; "
        "there all of the above is in the norm of the statistics"
    )


def _title(metrics: Metrics) -> str:
    config, summary = metrics["config"], metrics["summary"]
    choices = (config[group]["name"] for group in ("objective", "solver", "core"))
    rank = _rank(metrics) or config["rank"]
    return ", ".join((f"{summary['modules']} modules, rank {rank}", *choices, _seconds(summary)))


def _rank(metrics: Metrics) -> int | None:
    """The rank of the merged adapter, if it is lower than what was asked for."""
    asked, given = metrics["config"]["rank"], max(module["rank"] for module in metrics["modules"])
    return given if isinstance(asked, int) and given < asked else None


def _seconds(summary: Metrics) -> str:
    return f"{summary['seconds']['total']:.1f} s"


def _span(ranks: Sequence[int]) -> str:
    low, high = min(ranks, default=0), max(ranks, default=0)
    return str(low) if low == high else f"{low}-{high}"
