"""One finished run of a sweep, from its `metrics.json`: settings, numbers, parts of the model.

N = adapters that went in. Anything may be missing in the file; it is None then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Any

from lorafold.commands.report.sweep.differing import flat
from lorafold.commands.report.sweep.repeat import repeat_command
from lorafold.commands.report.sweep.untrusted import Unreadable, mapping, mappings, number, numbers, read_json, shallow
from lorafold.common.text import mean, short_names
from lorafold.pipelines._tables import by_part

Values = tuple[float | None, ...]  # one for each adapter that went in (N,)

SIDES = ("left", "right")
_PARTS = 24  # rows of a heat map, at most about


@dataclass(frozen=True)
class Numbers:
    """What a run measured, over all modules or over one part of the model.

    Args:
        kept: share of each adapter's energy inside the merged subspaces, in [0, 1] (N,).
        phi: overlap φ with each adapter's subspaces, in [0, 1] (N,), of the "left" and the "right" ones.
        error: ‖M − ΔW_3‖² / ‖M‖² of the weighted sum M.
    """

    kept: Values = ()
    phi: Mapping[str, Values] | None = None
    error: float | None = None

    @property
    def worst_kept(self) -> float | None:
        """What is kept of the adapter that lost most."""
        return min(_known(self.kept), default=None)

    @property
    def mean_kept(self) -> float | None:
        """Over the adapters."""
        return mean(self.kept)

    @property
    def mean_phi(self) -> float | None:
        """Over adapters and sides."""
        return mean(value for side in SIDES for value in self.phi_of(side))

    def phi_of(self, side: str) -> Values:
        return (self.phi or {}).get(side, ())


@dataclass(frozen=True)
class Block:
    """A part of the model, such as `layer 3`."""

    label: str
    modules: int
    numbers: Numbers


@dataclass(frozen=True)
class SweepRun:
    """A finished run.

    Args:
        folder: that it left.
        command: of lorafold, such as "merge".
        settings: by dotted name.
        inputs: short names of the adapters that went in (N,).
        numbers: over all modules.
        evaluation: what the user's own evaluator returned, by name.
        rank: that was asked for, or where it was no number the mean over the modules.
        parameters: of the merged adapter: Σ r (m + n) over its modules.
        converged, modules: how many modules of how many.
        blocks: the parts of the model.
        repeat: the command line that runs it again, if one can be given.
    """

    folder: Path
    command: str
    settings: Mapping[str, Any]
    inputs: tuple[str, ...]
    numbers: Numbers
    evaluation: Mapping[str, float]
    rank: float | None
    parameters: int | None
    converged: float | None
    modules: float | None
    seconds: float | None
    blocks: tuple[Block, ...]
    repeat: str | None
    version: str


def read_run(folder: Path) -> SweepRun:
    """Read `metrics.json` in a folder.

    Raises:
        Unreadable: it is no JSON object, or not one of ours.
    """
    metrics = read_json(folder / "metrics.json")
    if not shallow(metrics.get("config")):
        raise Unreadable("metrics.json has settings inside settings without end")
    summary, modules = mapping(metrics.get("summary")), _named(metrics.get("modules"))
    inputs = [path if isinstance(path := entry.get("path"), str) else None for entry in mappings(metrics.get("inputs"))]
    return SweepRun(
        folder=folder,
        command=str(metrics.get("command") or "unknown"),
        settings=flat(mapping(metrics.get("config"))),
        inputs=tuple(short_names(inputs)),
        numbers=_of_summary(summary),
        evaluation=_evaluation(mapping(metrics.get("evaluation"))),
        rank=_rank(mapping(metrics.get("config")).get("rank"), modules),
        parameters=_parameters(modules),
        converged=number(summary.get("converged")),
        modules=number(summary.get("modules")),
        seconds=number(mapping(summary.get("seconds")).get("total")),
        blocks=tuple(_block(label, members) for label, members in by_part(modules, _PARTS).items()),
        repeat=repeat_command(folder, metrics),
        version=_version(mapping(metrics.get("environment"))),
    )


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _named(modules: Any) -> list[Mapping[str, Any]]:
    return [module for module in mappings(modules) if isinstance(module.get("name"), str)]


def _of_summary(summary: Mapping[str, Any]) -> Numbers:
    phi = mapping(summary.get("phi"))
    return Numbers(
        numbers(summary.get("retained")),
        {side: numbers(phi.get(side)) for side in SIDES},
        number(summary.get("reconstruction_error")),
    )


def _block(label: str, modules: Sequence[Mapping[str, Any]]) -> Block:
    sides = {side: [numbers(mapping(module.get(side)).get("phi")) for module in modules] for side in SIDES}
    means = Numbers(
        _means([numbers(module.get("retained")) for module in modules]),
        {side: _means(values) for side, values in sides.items()},
        mean(number(module.get("reconstruction_error")) for module in modules),
    )
    return Block(label, len(modules), means)


def _means(rows: Sequence[Values]) -> Values:
    """Over the modules, for each adapter; rows may differ in length in a damaged file."""
    width = max(map(len, rows), default=0)
    return tuple(mean(row[column] for row in rows if column < len(row)) for column in range(width))


def _evaluation(returned: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, given in returned.items() if (value := number(given)) is not None}


def _rank(asked: Any, modules: Sequence[Mapping[str, Any]]) -> float | None:
    rank = number(asked)
    return mean(number(module.get("rank")) for module in modules) if rank is None else rank


def _parameters(modules: Sequence[Mapping[str, Any]]) -> int | None:
    """The numbers in the factors m × r and r × n of all modules."""
    sizes = [(number(module.get("rank")), numbers(module.get("shape"))) for module in modules]
    if not sizes or any(rank is None or len(shape) != 2 or None in shape for rank, shape in sizes):
        return None
    return int(fsum((rank or 0) * fsum(side or 0 for side in shape) for rank, shape in sizes))


def _version(environment: Mapping[str, Any]) -> str:
    """The version of lorafold, and the commit where it ran from a checkout."""
    git = mapping(environment.get("git"))
    sha = str(git.get("sha") or "")[:10]
    commit = f" ({sha}{', changed' if git.get('dirty') else ''})" if sha else ""
    return f"{environment.get('lorafold') or 'unknown'}{commit}"
