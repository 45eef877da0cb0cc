"""The numbers that a run returns to the sweeper which looks for the best one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lorafold.common.errors import LorafoldError, suggest

Metrics = Mapping[str, Any]  # the content of `metrics.json` of a merge


def _phi(metrics: Metrics) -> float:
    """Mean overlap of the merged subspaces with those of the adapters, both sides."""
    sides = [value for side in metrics["summary"]["phi"].values() for value in side if value is not None]
    return math.fsum(sides) / len(sides)


def _retained(metrics: Metrics) -> float:
    """Share of its energy that the adapter which lost most still has."""
    return min(value for value in metrics["summary"]["retained"] if value is not None)


def _parameters(metrics: Metrics) -> float:
    """Of the factors of the merged adapter."""
    return float(sum(module["rank"] * sum(module["shape"]) for module in metrics["modules"]))


SCORES: dict[str, Callable[[Metrics], float]] = {
    "phi": _phi,
    "error": lambda metrics: float(metrics["summary"]["reconstruction_error"]),
    "retained": _retained,
    "parameters": _parameters,
}


def check_score(score: Any, evaluated: bool) -> list[str]:
    """The names in `score`, one or a list; those that an evaluator will return cannot be known yet.

    Raises:
        LorafoldError: an unknown name and no evaluator.
    """
    if score is None:
        return []
    names = [score] if isinstance(score, str) else score
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise LorafoldError(f"score={score!r}, expected a name or a list of names", remedy=f"Such as {_listed()}.")
    for name in names:
        if name not in SCORES and not evaluated:
            raise LorafoldError(
                f"unknown score {name!r}",
                remedy=f"Choose of {_listed()}, or give an evaluator that returns it.{suggest(name, SCORES)}",
            )
    return list(names)


def score_of(names: Sequence[str], metrics: Metrics) -> float | tuple[float, ...] | None:
    """One number, or one for each of several names, or nothing for none; what the evaluator returned comes first.

    Raises:
        LorafoldError: the evaluator returned no such number, or it is not finite.
    """
    values = tuple(_score(name, metrics) for name in names)
    return values if len(values) > 1 else next(iter(values), None)


def _score(name: str, metrics: Metrics) -> float:
    evaluated = metrics.get("evaluation") or {}
    if name not in evaluated and name not in SCORES:
        raise LorafoldError(f"the evaluator returned no {name!r}", remedy=f"It returned {', '.join(evaluated)}.")
    value = evaluated[name] if name in evaluated else SCORES[name](metrics)
    if value is None or not math.isfinite(value):
        raise LorafoldError(f"score {name!r} is {value}, expected a finite number", remedy="Choose another score.")
    return value


def _listed() -> str:
    return ", ".join(SCORES)
