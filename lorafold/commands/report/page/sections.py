"""The sections of the page with charts: what each shows, and how to read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import fsum
from typing import Any

from lorafold.commands.report.page.chart import Chart
from lorafold.commands.report.page.encoding import Encoding
from lorafold.commands.report.sweep import Sweep, SweepRun
from lorafold.commands.report.sweep.finished_run import SIDES, Values
from lorafold.commands.report.sweep.untrusted import numbers

_SIZE = "parameters of the merged adapter →"
_EVALUATED = 3  # numbers of an evaluator with a chart
_PAIRS = 3  # of adapters, in the figure of φ against φ


@dataclass(frozen=True)
class Section:
    """Charts that belong together, with one legend.

    Args:
        name: of its files and of its section of the page.
        link: to it, in a word or two.
        title: for people.
        how: to read it.
        charts: with at least one point each; none where the sweep has nothing to show.
        nothing: why there are none.
    """

    name: str
    link: str
    title: str
    how: str
    charts: tuple[Chart, ...]
    nothing: str

    @property
    def best(self) -> set[int]:
        """The runs on a front of one of the charts."""
        return {number for chart in self.charts for number in chart.front}


def sections(sweep: Sweep) -> tuple[Section, ...]:
    """All sections with charts about a sweep."""
    return (_size(sweep), _path(sweep), _ranks(sweep), *_evaluation(sweep))


def input_names(sweep: Sweep) -> list[str]:
    """What to call the adapters: by number, and by name where all runs have the same ones."""
    count = max((len(run.inputs) for run in sweep.runs), default=0)
    names = {run.inputs for run in sweep.runs if len(run.inputs) == count}
    return [f"{i + 1}: {next(iter(names))[i]}" if len(names) == 1 else f"{i + 1}" for i in range(count)]


def evaluation_names(sweep: Sweep) -> list[str]:
    """What the evaluator of the runs has returned."""
    return list(dict.fromkeys(name for run in sweep.runs for name in run.evaluation))


def weight_share(run: SweepRun) -> float | None:
    """The share of the first of two adapters in the weights: where a run is on its way from one to the other."""
    if len(run.inputs) != 2:
        return None
    weights = run.settings.get("weights")
    if weights in (None, "sum"):
        return 0.5
    given = numbers(weights)
    total = fsum(abs(weight or 0) for weight in given)
    return given[0] / total if len(given) == 2 and given[0] is not None and total else None


def _size(sweep: Sweep) -> Section:
    encoding = Encoding(sweep, "rank")
    shared: dict[str, Any] = {"encoding": encoding, "smallest_x": True, "logarithmic": True}
    charts = (
        Chart(_parameters, lambda run: run.numbers.worst_kept, (_SIZE, "↑ kept, worst adapter"), **shared),
        Chart(_parameters, lambda run: run.numbers.mean_kept, (_SIZE, "↑ kept, mean over the adapters"), **shared),
    )
    how = (
        "Kept is the share of an adapter's energy inside the merged subspaces, ‖UUᵀΔWVVᵀ‖² / ‖ΔW‖², mean over the "
        "modules; the worst adapter is the one that lost most. On the dashed line are the runs that no other run beats "
        "in both size and kept energy."
    )
    return Section("size", "Size", "Size against kept energy", how, _drawable(charts), "No run has both numbers.")


def _path(sweep: Sweep) -> Section:
    encoding = Encoding(sweep, "weights")
    names = input_names(sweep)
    charts = tuple(
        _phi_against_phi(encoding, side, pair, names)
        for pair in list(combinations(range(len(names)), 2))[:_PAIRS]
        for side in SIDES
    )
    how = (
        "φ is the share of the merged subspace's directions that an adapter shares: 0 orthogonal, 1 contained. Lines "
        "join runs that differ in their weights alone, in the order of the weights; on the dashed line are the runs "
        "that no other run beats in φ to both adapters. Left are the column spaces, right the row spaces."
    )
    nothing = "No run has φ to two adapters."
    more = f" Of {len(names)} adapters, the first three pairs." if len(names) > _PAIRS else ""
    return Section(
        "path",
        "φ against φ",
        "φ to one adapter against φ to the other",
        how + more,
        _drawable(charts),
        nothing,
    )


def _phi_against_phi(encoding: Encoding, side: str, pair: tuple[int, int], names: Sequence[str]) -> Chart:
    first, second = pair
    return Chart(
        lambda run: _at(run.numbers.phi_of(side), first),
        lambda run: _at(run.numbers.phi_of(side), second),
        (f"φ {side} to {names[first]} →", f"↑ φ {side} to {names[second]}"),
        encoding,
        smallest_x=False,
        order=weight_share,
    )


def _ranks(sweep: Sweep) -> Section:
    shared: dict[str, Any] = {"encoding": Encoding(sweep, "rank"), "order": _rank, "logarithmic": True}
    charts = (
        Chart(_rank, lambda run: run.numbers.error, ("rank →", "reconstruction error ↓"), **shared),
        Chart(_rank, lambda run: run.numbers.worst_kept, ("rank →", "↑ kept, worst adapter"), **shared),
        Chart(_rank, lambda run: run.numbers.mean_phi, ("rank →", "↑ φ, mean over adapters and sides"), **shared),
    )
    several = len({run.rank for run in sweep.runs}) > 1
    how = (
        "Lines join runs that differ in their rank alone. Reconstruction error: ‖M − ΔW₃‖² / ‖M‖², squared distance of "
        "the merged update to the weighted sum M of the updates, mean over the modules."
    )
    nothing = "All runs have the same rank." if sweep.runs else "There is no finished run."
    return Section("ranks", "Ranks", "Rank curves", how, _drawable(charts) if several else (), nothing)


def _evaluation(sweep: Sweep) -> list[Section]:
    """What the user's own evaluator returned; whether more of it is better is not known."""
    names = evaluation_names(sweep)[:_EVALUATED]
    charts = [_size_and(name, Encoding(sweep, "rank")) for name in names]
    how = "What the evaluator of these runs returned for each merged adapter, against its size."
    return [Section("evaluation", "Evaluation", "Evaluation", how, _drawable(charts), "")] if charts else []


def _size_and(name: str, encoding: Encoding) -> Chart:
    return Chart(_parameters, lambda run: run.evaluation.get(name), (_SIZE, name), encoding, logarithmic=True)


def _drawable(charts: Sequence[Chart]) -> tuple[Chart, ...]:
    return tuple(chart for chart in charts if chart.points)


def _parameters(run: SweepRun) -> float | None:
    return run.parameters


def _rank(run: SweepRun) -> float | None:
    return run.rank


def _at(values: Values, index: int) -> float | None:
    return values[index] if index < len(values) else None
