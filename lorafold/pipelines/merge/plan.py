"""Settings, checked and resolved into what the pipeline calls: a mistake is found before any file is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from lorafold.adapters.selection import Selection, read_selection
from lorafold.common.device import device_of
from lorafold.common.errors import LorafoldError, suggest
from lorafold.common.options import check_options, choice, signature_defaults
from lorafold.common.registry import Registry
from lorafold.core_rules import CORE_RULES, CoreRule
from lorafold.core_space.problem import Problem
from lorafold.objectives import DISTANCES, RECONSTRUCTIONS, build, check_directions, emphasis
from lorafold.pipelines.merge.balance import SATURATE, Balance
from lorafold.pipelines.merge.block_weights import BlockWeights, read_block_weights
from lorafold.pipelines.merge.calibration import check_calibration
from lorafold.pipelines.merge.residual import check_residual
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.pipelines.merge.weights import Weights, is_finite, read_weights
from lorafold.scales import PER_DIRECTION, SCALES, Scale
from lorafold.solvers import SOLVERS, STARTS

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Plan:
    """One merge, ready to run."""

    weights: Weights
    blocks: BlockWeights
    selection: Selection
    balance: Balance  # 0: as they are, 1: to one norm
    truncate: list[int | None]  # rank of each adapter; None: as it is
    rank: int | None  # None: the joint rank of each module
    core_rank: int | None  # of the subspaces in which the core rule works; None: the joint rank of each module
    objective: Callable[..., Any]  # (problem, rank) -> Objective
    emphasis: Callable[[Problem], Tensor]  # how much each update counts for the subspaces (b, N)
    solve: Callable[..., Any]  # objective -> Solution
    core: CoreRule  # with its options
    scale: float  # 1 where `rescale` is to choose it
    rescale: Scale | None
    per_direction: Callable[..., Tensor] | None  # strengths of singular directions, in place of a scale
    device: torch.device
    dtype: torch.dtype | None  # None: that of the first adapter
    seed: int
    calibration: tuple[Any, ...] | None  # statistics of each adapter, or where they are
    ridge: float | None  # None: chosen
    subspaces: bool  # whether the objective has a term about them


def make_plan(settings: MergeSettings, count: int) -> Plan:
    """Check the settings of a merge of `count` adapters.

    Raises:
        LorafoldError: a value out of range or an unknown name.
    """
    calibration = check_calibration(settings.calibration, count)
    settings = settings.with_strength(count)
    rank = _rank("rank", settings.rank)
    scale, rescale, per_direction = _scale(settings.scale)
    objective = _objective(settings)
    core = _core(settings.core, count)
    if core.whole:
        _check_whole(core, settings)
    check_residual(settings.residual, core, per_direction is not None)
    return Plan(
        weights=read_weights(settings.weights, settings.module_weights, count),
        blocks=read_block_weights(settings.block_weights, count),
        selection=read_selection(settings.layers, settings.exclude),
        balance=_balance(settings.balance),
        truncate=_truncate(settings.truncate, count),
        rank=rank,
        core_rank=None if core.whole else _core_rank(settings.core_rank, rank),
        objective=objective,
        emphasis=partial(emphasis, **{key: objective.keywords[key] for key in ("reconstruction", "rescale")}),
        solve=_solver(settings),
        core=core,
        scale=scale,
        rescale=rescale,
        per_direction=per_direction,
        device=device_of(settings.device),
        dtype=_dtype(settings.dtype),
        seed=settings.seed,
        calibration=calibration,
        ridge=_ridge(settings.ridge, calibration is not None),
        subspaces=settings.subspace_weight != 0,
    )


def _ridge(ridge: Any, calibrated: bool) -> float | None:
    if ridge is None:
        return None
    if not calibrated:
        raise LorafoldError(f"ridge={ridge!r} without calibration=, of which it is a part", remedy="Leave it out.")
    if not (is_finite(ridge) and ridge > 0):
        raise LorafoldError(f"ridge={ridge!r}, expected a number above 0", remedy="For example ridge=0.01.")
    return float(ridge)


def resolved(group: str, value: Any) -> dict[str, Any]:
    """The name and all options of a choice, of lorafold's own things or of others'; see `choice`.

    Args:
        group: "objective", "manifold", "solver" or "core".
        value: a name, or a mapping of `name` and any options.
    """
    return choice(group, value, *_OTHERS.get(group, ()))


def _objective_defaults(distance: str) -> dict[str, Any]:
    """Of an objective with a distance of other people's: what all objectives have in common."""
    return {**choice("objective", "chordal"), "distance": distance}


# By group: the registry, and the defaults of what is in it but has no file in conf/.
_OTHERS: dict[str, tuple[Registry[Any], Callable[[str], dict[str, Any]]]] = {
    "core": (CORE_RULES, lambda name: CORE_RULES[name].options()),
    "objective": (DISTANCES, _objective_defaults),
    "solver": (SOLVERS, lambda name: signature_defaults(SOLVERS[name], {"manifold"})),
}


def _rank(name: str, rank: Any) -> int | None:
    if rank == "max":
        return None
    if _is_count(rank):
        return rank
    raise LorafoldError(f"{name}={rank!r}, expected a whole number >= 1, or max", remedy=f"For example {name}=32.")


def _core_rank(core_rank: Any, rank: int | None) -> int | None:
    """At least the rank of the merged adapter; that rank by default."""
    if core_rank is None:
        return rank
    size = _rank("core_rank", core_rank)
    if size is not None and (rank is None or size < rank):
        raise LorafoldError(
            f"core_rank={size}, but rank={'max' if rank is None else rank} is more than the core rule would leave",
            remedy="Ask for a larger core_rank, or for core_rank=max.",
        )
    return size


def _truncate(ranks: Any, count: int) -> list[int | None]:
    """One rank for all adapters, or one for each; None leaves an adapter as it is."""
    values = list(ranks) if isinstance(ranks, Sequence) and not isinstance(ranks, str) else [ranks] * count
    if len(values) != count or not all(value is None or _is_count(value) for value in values):
        raise LorafoldError(
            f"truncate={ranks!r}, expected a whole number >= 1, or one per adapter ({count}), or null",
            remedy=f"For example truncate=8, or 'truncate=[{','.join(['8'] * count)}]'.",
        )
    return values


def _balance(value: Any) -> Balance:
    if value == SATURATE:
        return SATURATE
    if isinstance(value, bool | int | float) and 0 <= value <= 1:
        return float(value)
    raise LorafoldError(
        f"balance={value!r}, expected {SATURATE}, true, false or a number from 0 to 1",
        remedy="For example balance=true.",
    )


def _scale(scale: Any) -> tuple[float, Scale | None, Callable[..., Tensor] | None]:
    """A number; or 1, and how to choose it when the merge has been measured, or one for each of its directions."""
    if is_finite(scale):
        return float(scale), None, None
    if isinstance(scale, str) and scale in SCALES:
        return 1.0, SCALES[scale], None
    if isinstance(scale, str) and scale in PER_DIRECTION:
        return 1.0, None, PER_DIRECTION[scale]
    known = sorted([*SCALES, *PER_DIRECTION])
    raise LorafoldError(
        f"scale={scale!r}, expected a finite number or one of {', '.join(known)}",
        remedy=f"For example scale=1.{suggest(str(scale), known)}",
    )


def _objective(settings: MergeSettings) -> partial[Any]:
    weights = {name: _finite(name, getattr(settings, name)) for name in ("subspace_weight", "reconstruction_weight")}
    for name, value in weights.items():
        if value < 0:
            raise LorafoldError(f"{name}={value}, expected >= 0", remedy="It is the weight of a term to minimise.")
    if not any(weights.values()):
        raise LorafoldError("subspace_weight and reconstruction_weight are both 0", remedy="Leave one above 0.")
    options = resolved("objective", settings.objective)
    for option, known in (("distance", DISTANCES), ("reconstruction", RECONSTRUCTIONS)):
        _known(f"objective.{option}", options[option], known)
    _check_reconstruction(options["reconstruction"], settings.calibration is not None)
    options = check_options(build, {**options, **weights})
    check_directions(options["directions"])
    if not 0 <= options["rescale"] <= 1:
        raise LorafoldError(
            f"objective.rescale={options['rescale']}, expected a number from 0 to 1",
            remedy="At 0 all updates count alike, at 1 by their energies.",
        )
    return partial(build, **options)


def _check_reconstruction(name: str, calibrated: bool) -> None:
    if calibrated != (name == "calibrated"):
        raise LorafoldError(
            f"objective.reconstruction={name} {'with' if calibrated else 'without'} calibration=",
            remedy="Statistics have their own, calibrated: leave out either."
            if calibrated
            else "It is the distance in the norm of statistics: give them, 'calibration=[a,b]'.",
        )


def _solver(settings: MergeSettings) -> Callable[..., Any]:
    options = resolved("solver", settings.solver)
    function = SOLVERS[options["name"]]
    solve = partial(function, **check_options(function, options))
    for option, value in solve.keywords.items():
        if isinstance(value, float | int) and not (math.isfinite(value) and value >= 0):
            raise LorafoldError(f"solver.{option}={value!r}, expected a finite number >= 0", remedy="See conf/solver.")
    if "start" in solve.keywords:
        _known("solver.start", solve.keywords["start"], STARTS)
    if solve.keywords.get("starts") == 0:
        raise LorafoldError("solver.starts=0, expected a whole number >= 1, or null", remedy="null: enough.")
    name = resolved("manifold", settings.manifold)["name"]
    return partial(solve, manifold=name) if "manifold" in signature(solve).parameters else solve


def _core(core: Any, count: int) -> CoreRule:
    options = resolved("core", core)
    rule = CORE_RULES[options["name"]].bind(options)
    if rule.adapters not in (None, count):
        raise LorafoldError(
            f"{count} adapters, but core={rule.name} takes {rule.adapters}",
            remedy="Other rules take any number, for example core=karcher.",
        )
    return rule


def _check_whole(rule: CoreRule, settings: MergeSettings) -> None:
    """Raise LorafoldError for what is of use only to a rule that works in subspaces."""
    given = {name: getattr(settings, name) for name in ("core_rank", "calibration")}
    for name, value in given.items():
        if value not in (None, "max"):
            raise LorafoldError(
                f"{name}={value!r}, but core={rule.name} works on whole layers",
                remedy=f"Leave out {name}, or use core=ties.",
            )


def _known(what: str, name: Any, known: Any) -> None:
    if name not in known:
        remedy = f"Choose one of {', '.join(known)}.{suggest(str(name), known)}"
        raise LorafoldError(f"{what}={name!r} is unknown", remedy=remedy)


def _dtype(name: str) -> torch.dtype | None:
    if name == "auto":
        return None
    _known("dtype", name, DTYPES)
    return DTYPES[name]


def _finite(name: str, value: Any) -> float:
    if not is_finite(value):
        raise LorafoldError(f"{name}={value!r}, expected a finite number", remedy=f"For example {name}=1.")
    return float(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
