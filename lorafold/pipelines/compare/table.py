"""The closing table of a comparison, from its metrics alone.

Of two adapters, a row for each part of the model; of more, a row for each pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod, sqrt
from typing import Any

from lorafold.common.text import mean
from lorafold.pipelines._tables import Row, Table, by_part
from lorafold.pipelines.compare.pair import SIDES
from lorafold.pipelines.compare.verdict import AGREEING, APART, DOUBT, OPPOSING, UNSIGNED

Metrics = Mapping[str, Any]  # of a comparison, of a pair or of one module
MAX_PARTS = 8
MAX_PAIRS = 10

_WORDS = f"""
{APART}: overlap as by chance: a sum keeps both
{UNSIGNED}: overlap beyond chance, but not the cosine
{AGREEING}, {OPPOSING}: so much stronger or weaker is each in a plain sum
{DOUBT}: directions paired at random inside the same subspaces may give that sign
""".strip()
_SEED = "* row spaces alike as from one seed: judge by the column spaces"


def compare_table(metrics: Metrics) -> Table:
    """Overlap of column and row spaces beside chance, and the cosine."""
    pairs = metrics["summary"]["pairs"]
    return _of_parts(metrics) if len(pairs) == 1 else _of_pairs(pairs)


def explanation(pairs: Sequence[Metrics]) -> list[str]:
    """What the table means: of one pair its reading, of more the words in the last column."""
    if len(pairs) == 1:
        return list(pairs[0]["reading"][-3:])  # the table has the overlap
    lines = _WORDS.splitlines()
    if any(pair["shared_initialisation"]["detected"] for pair in pairs):
        lines.append(_SEED)
    return lines


def name_of(pair: Metrics) -> str:
    """`#1 #2`"""
    return " ".join(f"#{number + 1}" for number in pair["pair"])


def phis(pair: Metrics) -> Iterator[str]:
    """`0.062 (0.051)`: overlap and chance level, left and right."""
    return (_with_chance(pair[side]["phi"], pair[side]["chance"]) for side in SIDES)


def _of_parts(metrics: Metrics) -> Table:
    summary = metrics["summary"]
    (pair,) = summary["pairs"]
    phi = ("phi left\n(by chance)", "phi right\n(by chance)")
    headers = ("\npart", *phi, "beyond chance\nleft right   of", "\ncosine")
    parts = by_part(metrics["modules"], MAX_PARTS)
    rows = tuple((label, *_cells(modules, summary["alpha"])) for label, modules in parts.items())
    counts = _counts([pair[side]["significant"] for side in SIDES], summary["modules"])
    return Table(headers, rows, ("total", *phis(pair), counts, _cosine(pair["cosine"])))


def _cells(modules: Sequence[Metrics], alpha: float) -> Row:
    pairs = [pair for module in modules for pair in module["pairs"]]
    means = [[mean(pair[side][key] for pair in pairs) for key in ("phi", "chance")] for side in SIDES]
    beyond = [sum(_significant(pair[side]["p_adjusted"], alpha) for pair in pairs) for side in SIDES]
    return *(_with_chance(*pair) for pair in means), _counts(beyond, len(modules)), _cosine(_cosine_of(modules))


def _of_pairs(pairs: Sequence[Metrics]) -> Table:
    headers = ("\npair", "phi left\n(by chance)", "phi right\n(by chance)", "\ncosine", "norm\nratio", "\nreading")
    rows = (
        (name_of(pair), *phis(pair), _cosine(pair["cosine"]), _ratio(pair["norm_ratio"]), _reading(pair))
        for pair in pairs[:MAX_PAIRS]
    )
    return Table(headers, tuple(rows), left=(0, 5))


def _reading(pair: Metrics) -> str:
    words = str(pair["verdict"])
    if words.removesuffix(DOUBT) in (AGREEING, OPPOSING):
        words += "".join(f" {100 * change:+.1f}" for change in pair["in_sum"]) + " %"
    return words + ("*" if pair["shared_initialisation"]["detected"] else "")


def _cosine_of(modules: Sequence[Metrics]) -> float | None:
    """The cosine of two updates, each over several modules as one vector."""
    first, second = (sqrt(sum(module["norms"][i] ** 2 for module in modules)) for i in range(2))
    inner = sum((pair["cosine"] or 0) * prod(module["norms"]) for module in modules for pair in module["pairs"])
    return inner / (first * second) if first and second else None


def _significant(p_adjusted: float | None, alpha: float) -> bool:
    return p_adjusted is not None and p_adjusted <= alpha


def _with_chance(phi: float | None, chance: float | None) -> str:
    return "-" if phi is None or chance is None else f"{phi:.3f} ({chance:.3f})"


def _counts(sides: Sequence[int], of: int) -> str:
    return f"{sides[0]:4} {sides[1]:5} {of:4}"


def _cosine(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
