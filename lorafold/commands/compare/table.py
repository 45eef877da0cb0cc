"""The closing table of a comparison, from its metrics alone (the content of `metrics.json`), 80 columns wide.

Of two adapters, a row for each part of the model, then the reading; of more, a row for each pair. Plain ASCII.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod, sqrt
from typing import Any

from rich import box
from rich.table import Table

from lorafold.adapters.naming.model_parts import group_of, labels
from lorafold.console.console import Console
from lorafold.console.lines import say
from lorafold.console.tables import SIDES, near
from lorafold.pipelines.compare.verdict import AGREEING, APART, DOUBT, OPPOSING, UNSIGNED

Metrics = Mapping[str, Any]  # of a run, of its summary, of a pair or of one module
MAX_PARTS = 8  # rows of parts of the model
MAX_PAIRS = 10  # rows of pairs

_WORDS = f"""
{APART}: overlap as by chance: a sum keeps both
{UNSIGNED}: overlap beyond chance, but not the cosine
{AGREEING}, {OPPOSING}: so much stronger or weaker is each in a plain sum
{DOUBT}: directions paired at random inside the same subspaces may give that sign
"""
_SEED = "* row spaces alike as from one seed: judge by the column spaces"


def show(metrics: Metrics, console: Console | None = None) -> None:
    """Print the table, which adapter is which, the reading, and where the page is."""
    console = console or Console(highlight=False)
    pairs = metrics["summary"]["pairs"]
    say(console, _title(metrics), "bold")
    console.print(_table_of_parts(metrics) if len(pairs) == 1 else _table_of_pairs(pairs))
    for number, adapter in enumerate(metrics["inputs"], 1):
        ranks = "-".join(str(rank) for rank in sorted({*adapter["ranks"][:1], *adapter["ranks"][-1:]}))
        say(console, f"#{number}: {near(str(adapter['path']))} (rank {ranks})")
    for line in pairs[0]["reading"][-3:] if len(pairs) == 1 else _explanation(pairs):  # the table has the overlap
        console.print(line, markup=False)
    if page := metrics.get("page"):
        say(console, f"page: {near(page)}")


def one_line(metrics: Metrics) -> str:
    """A run of a sweep: its pairs in words."""
    pairs = metrics["summary"]["pairs"]
    words = (f"{_name(pair)} phi {_phis(pair)}, {pair['verdict']}" for pair in pairs)
    return f"{'; '.join(words)}; {_seconds(metrics)}"


def _title(metrics: Metrics) -> str:
    return f"{metrics['summary']['modules']} modules of {len(metrics['inputs'])} adapters, {_seconds(metrics)}"


def _seconds(metrics: Metrics) -> str:
    return f"{metrics['summary']['seconds']['total']:.1f} s"


def _table(first: str, *headers: str) -> Table:
    result = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    result.add_column(first)
    for header in headers:
        result.add_column(header, justify="right")
    return result


def _table_of_parts(metrics: Metrics) -> Table:
    """One row per part of the model and the total."""
    (total,) = metrics["summary"]["pairs"]
    chance = ("phi left\n(by chance)", "phi right\n(by chance)", "beyond chance\nleft right   of")
    result = _table("\npart", *chance, "\ncosine")
    alpha = metrics["summary"]["alpha"]
    for label, modules in _rows(metrics["modules"]).items():
        found = [pair for module in modules for pair in module["pairs"]]
        means = [[_mean(pair[side][key] for pair in found) for key in ("phi", "chance")] for side in SIDES]
        beyond = [sum(_significant(pair[side]["p_adjusted"], alpha) for pair in found) for side in SIDES]
        cells = [_with_chance(*mean) for mean in means]
        result.add_row(label, *cells, _counts(beyond, len(modules)), _cosine(_cosine_of(modules)))
    result.add_section()
    beyond = [total[side]["significant"] for side in SIDES]
    cells = [_with_chance(total[side]["phi"], total[side]["chance"]) for side in SIDES]
    counts = _counts(beyond, metrics["summary"]["modules"])
    result.add_row("total", *cells, counts, _cosine(total["cosine"]), style="bold")
    return result


def _table_of_pairs(pairs: Sequence[Metrics]) -> Table:
    result = _table("\npair", "phi left\n(by chance)", "phi right\n(by chance)", "\ncosine", "norm\nratio")
    result.add_column("\nreading")
    for pair in pairs[:MAX_PAIRS]:
        cells = [_with_chance(pair[side]["phi"], pair[side]["chance"]) for side in SIDES]
        ratio = "-" if pair["norm_ratio"] is None else f"{pair['norm_ratio']:.2g}"
        result.add_row(_name(pair), *cells, _cosine(pair["cosine"]), ratio, _reading(pair))
    return result


def _reading(pair: Metrics) -> str:
    words = pair["verdict"]
    if words.removesuffix(DOUBT) in (AGREEING, OPPOSING):
        words += "".join(f" {100 * change:+.1f}" for change in pair["in_sum"]) + " %"
    return words + ("*" if pair["shared_initialisation"]["detected"] else "")


def _explanation(pairs: Sequence[Metrics]) -> list[str]:
    lines = _WORDS.strip().splitlines()
    if any(pair["shared_initialisation"]["detected"] for pair in pairs):
        lines.append(_SEED)
    if len(pairs) > MAX_PAIRS:
        lines.append(f"... and {len(pairs) - MAX_PAIRS} more pairs in metrics.json")
    return lines


def _rows(modules: Sequence[Metrics]) -> dict[str, list[Metrics]]:
    groups = [group_of(module["name"]) for module in modules]
    names = labels(groups, MAX_PARTS)
    rows: dict[str, list[Metrics]] = {label: [] for label in names.values()}
    for group, module in zip(groups, modules, strict=True):
        rows[names[group]].append(module)
    return rows


def _cosine_of(modules: Sequence[Metrics]) -> float | None:
    """Of two updates, over several modules as one vector each."""
    first, second = (sqrt(sum(module["norms"][i] ** 2 for module in modules)) for i in range(2))
    inner = sum((pair["cosine"] or 0) * prod(module["norms"]) for module in modules for pair in module["pairs"])
    return inner / (first * second) if first and second else None


def _significant(p_adjusted: float | None, alpha: float) -> bool:
    return p_adjusted is not None and p_adjusted <= alpha


def _name(pair: Metrics) -> str:
    return " ".join(f"#{number + 1}" for number in pair["pair"])


def _phis(pair: Metrics) -> str:
    return ", ".join(_with_chance(pair[side]["phi"], pair[side]["chance"]) for side in SIDES)


def _with_chance(phi: float | None, chance: float | None) -> str:
    return "-" if phi is None or chance is None else f"{phi:.3f} ({chance:.3f})"


def _counts(sides: Sequence[int], of: int) -> str:
    return f"{sides[0]:4} {sides[1]:5} {of:4}"


def _cosine(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
