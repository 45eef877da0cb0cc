"""Settings, checked and resolved into what the pipeline calls: a mistake is found before any file is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch

from lorafold.core_rules import CORE_RULES
from lorafold.errors import LorafoldError
from lorafold.objectives import DISTANCES, RECONSTRUCTIONS, build, check_directions
from lorafold.options import check_options, choice
from lorafold.settings import Settings
from lorafold.solvers import SOLVERS

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Plan:
    """One merge, ready to run."""

    weights: list[float]
    rank: int | None  # None: the joint rank of each module
    objective: Callable[..., Any]  # (problem, rank) -> Objective
    solve: Callable[..., Any]  # objective -> Solution
    core: Callable[..., Any]  # (cores, weights) -> merged core
    scale: float
    device: torch.device
    dtype: torch.dtype | None  # None: that of the first adapter
    seed: int


def make_plan(settings: Settings, count: int) -> Plan:
    """Check the settings of a merge of `count` adapters.

    Raises:
        LorafoldError: a value out of range or an unknown name.
    """
    return Plan(
        weights=_weights(settings.weights, count),
        rank=_rank(settings.rank),
        objective=_objective(settings),
        solve=_solver(settings),
        core=_bound("core", settings.core, CORE_RULES),
        scale=_finite("scale", settings.scale),
        device=_device(settings.device),
        dtype=_dtype(settings.dtype),
        seed=settings.seed,
    )


def _weights(weights: Any, count: int) -> list[float]:
    """One finite number per adapter, not all zero; by default the mean, 1 / count each."""
    if weights is None:
        return [1 / count] * count
    values = list(weights) if isinstance(weights, Sequence) and not isinstance(weights, str) else [weights]
    if len(values) != count or not all(map(_is_finite, values)) or not any(values):
        example = ",".join([f"{1 / count:.2g}"] * count)
        raise LorafoldError(
            f"weights={weights!r}, expected {count} finite numbers, one per adapter, not all zero",
            remedy=f"For example 'weights=[{example}]'.",
        )
    return [float(value) for value in values]


def _rank(rank: Any) -> int | None:
    if rank == "max":
        return None
    if isinstance(rank, int) and not isinstance(rank, bool) and rank >= 1:
        return rank
    raise LorafoldError(f"rank={rank!r}, expected a whole number >= 1, or max", remedy="For example rank=32.")


def _objective(settings: Settings) -> Callable[..., Any]:
    weights = {name: _finite(name, getattr(settings, name)) for name in ("subspace_weight", "reconstruction_weight")}
    for name, value in weights.items():
        if value < 0:
            raise LorafoldError(f"{name}={value}, expected >= 0", remedy="It is the weight of a term to minimise.")
    if not any(weights.values()):
        raise LorafoldError("subspace_weight and reconstruction_weight are both 0", remedy="Leave one above 0.")
    options = choice("objective", settings.objective)
    for option, known in (("distance", sorted(DISTANCES)), ("reconstruction", RECONSTRUCTIONS)):
        _known(f"objective.{option}", options[option], known)
    options = check_options(build, {**options, **weights})
    check_directions(options["directions"])
    return partial(build, **options)


def _solver(settings: Settings) -> Callable[..., Any]:
    solve = _bound("solver", settings.solver, SOLVERS)
    for option, value in solve.keywords.items():
        if not (_is_finite(value) and value >= 0):
            raise LorafoldError(f"solver.{option}={value!r}, expected a finite number >= 0", remedy="See conf/solver.")
    name = choice("manifold", settings.manifold)["name"]
    return partial(solve, manifold=name) if "manifold" in signature(solve).parameters else solve


def _bound(group: str, value: Any, registry: dict[str, Callable[..., Any]]) -> partial[Any]:
    options = choice(group, value)
    _known(group, options["name"], registry)
    function = registry[options["name"]]
    return partial(function, **check_options(function, options))


def _known(what: str, name: Any, known: Any) -> None:
    if name not in known:
        raise LorafoldError(f"{what}={name!r} is unknown", remedy=f"Choose one of {', '.join(known)}.")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise LorafoldError(f"device={name!r} is unknown", remedy="Choose auto, cpu or cuda.") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise LorafoldError(f"device={name!r} is not available here", remedy="Use device=auto or device=cpu.")
    return device


def _dtype(name: str) -> torch.dtype | None:
    if name == "auto":
        return None
    _known("dtype", name, DTYPES)
    return DTYPES[name]


def _finite(name: str, value: Any) -> float:
    if not _is_finite(value):
        raise LorafoldError(f"{name}={value!r}, expected a finite number", remedy=f"For example {name}=1.")
    return float(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
