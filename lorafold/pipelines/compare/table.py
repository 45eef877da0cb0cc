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
from lorafold.pipelines.compare.verdict import (
    DOUBT,
    INDEPENDENT,
    MISMATCHED,
    PANEL,
    beyond_chance,
    cosine_words,
    decided,
    decision,
    null_line,
)

Metrics = Mapping[str, Any]  # of a comparison, of a pair or of one module
MAX_PARTS = 8
MAX_PAIRS = 10
_SENTENCES = 3  # of a reading: what a sum does, sizes, initialisation; the table has the overlap

_WORDS = f"""
|cosine| < 0.05: {INDEPENDENT}, < 0.2: slightly, >= 0.5: strongly
{DOUBT}: directions paired at random inside the same subspaces may give that sign
""".strip()
_BEYOND = "+ beyond chance: some modules share more than other pairs with the panel do"
_SEED = "* row spaces alike as from one seed: judge by the column spaces"
# What stands in brackets behind phi, and the counts: by the kind of null.
_HEADERS = {
    PANEL: ("panel", "beyond chance"),
    MISMATCHED: ("mismatched", "above mismatched"),
    None: ("random", "above random"),
}


def compare_table(metrics: Metrics) -> Table:
    """Overlap of column and row spaces beside its null, and the cosine."""
    summary = metrics["summary"]
    return _of_parts(metrics) if len(summary["pairs"]) == 1 else _of_pairs(summary["pairs"], summary["alpha"])


def explanation(summary: Metrics) -> list[str]:
    """What the table means: of one pair its reading, of more what its columns and words say."""
    pairs, alpha = summary["pairs"], summary["alpha"]
    reference = _reference(pairs)
    start = [null_line(reference), *decision(reference, alpha)]
    if len(pairs) == 1:
        (pair,) = pairs
        return start + pair["reading"][-_SENTENCES:] if pair["left"]["tested"] else list(pair["reading"])
    lines = [*start[: 1 if decided(reference) else None], *_WORDS.splitlines()]
    if any(beyond_chance(pair) for pair in pairs):
        lines.append(_BEYOND)
    if any(pair["shared_initialisation"]["detected"] for pair in pairs):
        lines.append(_SEED)
    return lines


def name_of(pair: Metrics) -> str:
    """`#1 #2`"""
    return " ".join(f"#{number + 1}" for number in pair["pair"])


def phis(pair: Metrics) -> Iterator[str]:
    """`0.062 (0.051)`: overlap and its null, left and right."""
    return _phis(pair, pair["null"]["kind"])


def _phis(pair: Metrics, kind: str | None) -> Iterator[str]:
    return (_with_null(*(pair[side][key] for key in _keys(kind))) for side in SIDES)


def _keys(kind: str | None) -> tuple[str, str]:
    """φ, and what it stands beside: the null's median, without a null that of random subspaces."""
    return ("phi", "random") if kind is None else ("null_phi", "null_median")


def _reference(pairs: Sequence[Metrics]) -> Metrics:
    """The pair that says what the null is."""
    return next((pair for pair in pairs if pair["null"]["kind"]), pairs[0])


def _of_parts(metrics: Metrics) -> Table:
    summary = metrics["summary"]
    kind = summary["pairs"][0]["null"]["kind"]
    null, counts = _HEADERS[kind]
    headers = ("\npart", f"phi left\n({null})", f"phi right\n({null})", f"{counts}\nleft right   of", "\ncosine")
    parts = by_part(metrics["modules"], MAX_PARTS)
    rows = tuple((label, *_cells(modules, kind, summary["alpha"])) for label, modules in parts.items())
    return Table(headers, rows, ("total", *_cells(metrics["modules"], kind, summary["alpha"])))


def _cells(modules: Sequence[Metrics], kind: str | None, alpha: float) -> Row:
    pairs = [pair for module in modules for pair in module["pairs"]]
    means = [[mean(pair[side][key] for pair in pairs) for key in _keys(kind)] for side in SIDES]
    adjusted = "random_p_adjusted" if kind is None else "p_adjusted"
    tests = [[pair[side][adjusted] for side in SIDES] for pair in pairs]
    decided = sum(any(p is not None for p in test) for test in tests)
    beyond = [sum(p is not None and p <= alpha for p in side) for side in zip(*tests, strict=True)] or [0, 0]
    return *(_with_null(*pair) for pair in means), _counts(beyond, decided), _cosine(_cosine_of(modules))


def _of_pairs(pairs: Sequence[Metrics], alpha: float) -> Table:
    kind = _reference(pairs)["null"]["kind"]
    null, _ = _HEADERS[kind]
    headers = ("\npair", f"phi left\n({null})", f"phi right\n({null})", "\ncosine", "norm\nratio", "\nreading")
    rows = (
        (
            name_of(pair),
            *_marked(pair, kind),
            _cosine(pair["cosine"]),
            _ratio(pair["norm_ratio"]),
            _reading(pair, alpha),
        )
        for pair in pairs[:MAX_PAIRS]
    )
    return Table(headers, tuple(rows), left=(0, 5))


def _marked(pair: Metrics, kind: str | None) -> Iterator[str]:
    marks = ("+" if beyond_chance(pair, side) else " " if kind == PANEL else "" for side in SIDES)
    return (phi + mark for phi, mark in zip(_phis(pair, kind), marks, strict=True))


def _reading(pair: Metrics, alpha: float) -> str:
    return cosine_words(pair, alpha) + ("*" if pair["shared_initialisation"]["detected"] else "")


def _cosine_of(modules: Sequence[Metrics]) -> float | None:
    """The cosine of two updates, each over several modules as one vector."""
    first, second = (sqrt(sum(module["norms"][i] ** 2 for module in modules)) for i in range(2))
    inner = sum((pair["cosine"] or 0) * prod(module["norms"]) for module in modules for pair in module["pairs"])
    return inner / (first * second) if first and second else None


def _with_null(phi: float | None, null: float | None) -> str:
    return "-" if phi is None or null is None else f"{phi:.3f} ({null:.3f})"


def _counts(sides: Sequence[int], of: int) -> str:
    left, right = (str(count) if of else "-" for count in sides)
    return f"{left:>4} {right:>5} {of:4}"


def _cosine(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
