"""What a comparison measured, as plain JSON: one shape for tables, pages and scripts.

s = side (0 left, 1 right), N = adapters, M = modules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lorafold.adapters import Adapter
from lorafold.adapters.naming.model_parts import group_of, kind_of, labels
from lorafold.common.peak_memory import peak_memory
from lorafold.geometry import expected_phi
from lorafold.pipelines._metrics import Json, input_entry
from lorafold.pipelines.compare.batch import ComparedBatch
from lorafold.pipelines.compare.chance import Array, combined_p, sign_test
from lorafold.pipelines.compare.null import Draws, Null
from lorafold.pipelines.compare.pair import SIDES, Bools, Modules, Pair, modules_of, pair_of
from lorafold.pipelines.compare.verdict import read_pair, shared_initialisation, verdict

# Of one side of a module, beside the null: see `null_of`.
NULL_KEYS = (
    "null_k",
    "null_l",
    "null_draws",
    "null_phi",
    "null_median",
    "null_spread",
    "effect",
    "p",
    "p_adjusted",
)


def compare_metrics(
    inputs: Sequence[Adapter],
    batches: Sequence[ComparedBatch],
    draws: Mapping[tuple[int, int], Draws],
    alpha: float,
    seconds: Mapping[str, float],
    panel: Sequence[Adapter] = (),
) -> Json:
    """Inputs, summary and one entry per module, in the order of the first adapter; null where nothing is defined.

    Per pair: `cosine` of the updates as one vector each, and its standard deviation for independent updates
    (`cosine_null_sd`) and for independent ones inside the same subspaces (`cosine_shared_sd`); `norm_ratio`
    ‖ΔW_j‖ / ‖ΔW_i‖; `in_sum`, by which share of itself each is strengthened in ΔW_i + ΔW_j. Per side: the mean over
    modules of φ, of φ as the null has it (`null_phi`, of equally many leading directions) and of the null's median; the
    mean `effect` and its p-value; in how many modules p_adjusted is at most alpha (`beyond_null`), of how many in which
    it could be (`decided`). What begins with `random` is by the standard of random subspaces: mean φ, median z-score,
    modules in which Holm's p-value over all modules and both sides is at most alpha, Fisher's combined p-value.
    `phi_energy` is φ weighted by ‖ΔW_i‖ ‖ΔW_j‖. `null` says what the null is: see `_null_entry`.
    """
    modules = modules_of(batches)
    pairs = [pair_of(batches, modules, index, draws.get(index), alpha) for index in batches[0].overlaps]
    names = [layer.name for layer in modules.layers]
    groups = [group_of(name) for name in names]
    titles = labels(groups, limit=len(groups))
    parts = {"group": [titles[group] for group in groups], "kind": [kind_of(name) for name in names]}
    return {
        "inputs": [input_entry(*entry) for entry in zip(inputs, modules.energies.sum(1).tolist(), strict=True)],
        "panel": [{"path": None if adapter.path is None else str(adapter.path)} for adapter in panel],
        "summary": {
            "modules": len(names),
            "alpha": alpha,
            "pairs": [_pair(pair, alpha, len(panel)) for pair in pairs],
            **_matrices(modules, pairs),
            "groups": _parts(parts["group"], pairs),
            "kinds": _parts(parts["kind"], pairs),
            "seconds": dict(seconds),
            **peak_memory(),
        },
        "modules": _modules(modules, pairs, parts),
    }


def _pair(pair: Pair, alpha: float, panel: int) -> Json:
    cosine, norms = pair.cosine(), np.sqrt(pair.energies.sum(1))
    entry: Json = {
        "pair": list(pair.pair),
        "modules": int(pair.shared.sum()),
        "cosine": _number(cosine),
        "cosine_null_sd": _number(pair.cosine_sd()),
        "cosine_shared_sd": _number(pair.cosine_sd_inside()),
        "agreeing": int((pair.inner > 0).sum()),
        "norm_ratio": _ratio(norms),
        "in_sum": [_number(cosine * second / first) if first > 0 else None for first, second in (norms, norms[::-1])],
        "null": _null_entry(pair, panel),
        **{side: _side_summary(pair, row, alpha) for row, side in enumerate(SIDES)},
    }
    entry["shared_initialisation"] = _initialisation(pair, entry["right"], alpha)
    return {**entry, "verdict": verdict(entry, alpha), "reading": read_pair(entry, alpha)}


def _side_summary(pair: Pair, row: int, alpha: float) -> Json:
    phi, chance, null = pair.phi[row], pair.chance, pair.null
    weights = np.sqrt(pair.energies.prod(0))[np.isfinite(phi)]
    finite = phi[np.isfinite(phi)]
    return {
        "phi": _mean(phi),
        "phi_energy": float(weights @ finite / weights.sum()) if finite.size else None,
        "tested": finite.size,
        "null_phi": _mean(_known(null.phi, null.median)[row]) if null else None,
        "null_median": _mean(null.median[row]) if null else None,
        "effect": _number(null.mean_effect[row]) if null else None,
        "p": _number(null.mean_p[row]) if null else None,
        "decided": int(np.isfinite(null.p_adjusted[row]).sum()) if null else 0,
        "beyond_null": int((null.p_adjusted[row] <= alpha).sum()) if null else 0,
        "random": _mean(chance.expected[row]),
        "random_z": float(np.median(chance.z[row][np.isfinite(phi)])) if finite.size else None,
        "beyond_random": int((chance.p_adjusted[row] <= alpha).sum()),
        "random_p": combined_p(chance.p[row]),
    }


def _null_entry(pair: Pair, panel: int) -> Json:
    """What the null is: "panel", "mismatched layers", or null without any; and how many adapters the panel has.

    Further the fewest and the most draws of a module, and leading directions that are compared; and the smallest
    p-value that so many draws can give.
    """
    draws = pair.null.draws[pair.null.draws > 0] if pair.null else np.zeros(0)
    if not pair.null or not draws.size:
        return {"kind": None, "panel": panel, "draws": None, "directions": None, "smallest_p": None}
    dims = pair.null.dims[:, (pair.null.draws > 0).any(0)]
    return {
        "kind": "panel" if panel else "mismatched layers",
        "panel": panel,
        "draws": [int(draws.min()), int(draws.max())],
        "directions": [int(dims.min()), int(dims.max())],
        "smallest_p": 1 / (1 + int(draws.max())),
    }


def _known(values: Array, where: Array) -> Array:
    return np.where(np.isfinite(where), values, np.nan)


def _initialisation(pair: Pair, right: Json, alpha: float) -> Json:
    """The pattern of a seed in common, and the numbers that it rests on; see `reading.shared_initialisation`."""
    excess = pair.phi - pair.chance.expected
    test = sign_test(excess)
    return {
        "detected": shared_initialisation(right["beyond_random"], right["tested"], test.p, alpha),
        "modules": test.compared,
        "right_above_left": test.larger,
        "p": test.p,
        "right_beyond_random": right["beyond_random"],
        "excess": {side: _mean(excess[row]) for row, side in enumerate(SIDES)},
    }


def _matrices(modules: Modules, pairs: Sequence[Pair]) -> Json:
    """N x N, symmetric; on the diagonal an adapter with itself, and φ of random subspaces of its ranks."""
    alone = [_chance_alone(modules, adapter) for adapter in range(len(modules.dims))]
    itself = [1.0 if energy > 0 else None for energy in modules.energies.sum(1)]

    def both_sides(diagonals: Sequence[Sequence[Any]], value: Callable[[Pair], Array]) -> Json:
        return {
            side: _symmetric(diagonals[row], {pair.pair: _mean(value(pair)[row]) for pair in pairs})
            for row, side in enumerate(SIDES)
        }

    return {
        "phi_matrix": both_sides([itself, itself], lambda pair: pair.phi),
        "random_matrix": both_sides(list(zip(*alone, strict=True)), lambda pair: pair.chance.expected),
        "cosine_matrix": _symmetric(itself, {pair.pair: _number(pair.cosine()) for pair in pairs}),
    }


def _chance_alone(modules: Modules, adapter: int) -> list[float | None]:
    present = modules.dims[adapter] > 0
    dims = modules.dims[adapter][present]
    return [_mean(expected_phi(sizes[present], dims, dims)) for sizes in modules.sizes]


def _symmetric(diagonal: Sequence[Any], entries: Mapping[tuple[int, int], Any]) -> list[list[Any]]:
    rows = range(len(diagonal))
    return [[diagonal[i] if i == j else entries[min(i, j), max(i, j)] for j in rows] for i in rows]


def _parts(names: Sequence[str], pairs: Sequence[Pair]) -> list[Json]:
    """One entry per part of the model, or kind of layer, in the order in which they are met."""
    column = np.array(names)
    masks = {name: column == name for name in dict.fromkeys(names)}
    return [
        {"group": name, "modules": int(where.sum()), "pairs": [_part(pair, where) for pair in pairs]}
        for name, where in masks.items()
    ]


def _part(pair: Pair, where: Bools) -> Json:
    sides = {
        side: {
            "phi": _mean(pair.phi[row, where]),
            "null_phi": _mean(_known(pair.null.phi, pair.null.median)[row, where]) if pair.null else None,
            "null_median": _mean(pair.null.median[row, where]) if pair.null else None,
            "random": _mean(pair.chance.expected[row, where]),
        }
        for row, side in enumerate(SIDES)
    }
    return {"pair": list(pair.pair), **sides, "cosine": _number(pair.cosine(where))}


def _modules(modules: Modules, pairs: Sequence[Pair], parts: Mapping[str, Sequence[str]]) -> list[Json]:
    return [
        {
            "name": layer.name,
            "group": parts["group"][at],
            "kind": parts["kind"][at],
            "shape": list(layer.shape),
            "ranks": list(layer.ranks),
            "numerical_ranks": modules.dims[:, at].tolist(),
            "norms": np.sqrt(modules.energies[:, at]).tolist(),
            "pairs": [_module_pair(modules, pair, at) for pair in pairs if pair.shared[at]],
        }
        for at, layer in enumerate(modules.layers)
    ]


def _module_pair(modules: Modules, pair: Pair, at: int) -> Json:
    cosine = pair.cosine(slice(at, at + 1))
    sides = {side: _module_side(modules, pair, row, at) for row, side in enumerate(SIDES)}
    ratio = _ratio(np.sqrt(pair.energies[:, at]))
    return {"pair": list(pair.pair), "cosine": _number(cosine), "norm_ratio": ratio, **sides}


def _module_side(modules: Modules, pair: Pair, row: int, at: int) -> Json:
    chance = pair.chance
    k, other = modules.dims[list(pair.pair), at].tolist()
    return {
        "k": k,
        "l": other,
        "phi": _number(pair.phi[row, at]),
        **_null_side(pair.null, row, at),
        "phi_grid_mean": _number(pair.grid_mean[row, at]),
        "random": _number(chance.expected[row, at]),
        "random_z": _number(chance.z[row, at]),
        "random_p": _number(chance.p[row, at]),
        "random_p_adjusted": _number(chance.p_adjusted[row, at]),
        "angles": pair.angles[row][at],
        "distances": {name: _number(values[row, at]) for name, values in pair.distances.items()},
    }


def _null_side(null: Null | None, row: int, at: int) -> Json:
    if null is None:
        return dict.fromkeys(NULL_KEYS)
    k, other = null.dims[:, at].tolist()
    draws = int(null.draws[row, at])
    measures = (null.median, null.spread, null.effect, null.p, null.p_adjusted)
    numbers = [_number(values[row, at]) for values in measures]
    phi = _number(null.phi[row, at]) if draws else None
    return dict(zip(NULL_KEYS, (k if draws else None, other if draws else None, draws, phi, *numbers), strict=True))


def _mean(values: Array) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None


def _ratio(norms: Array) -> float | None:
    """Second to first; null where the first is zero."""
    return float(norms[1] / norms[0]) if norms[0] > 0 else None


def _number(value: Any) -> float | None:
    """A finite number, or null: JSON has neither NaN nor infinity (the Martin distance knows both)."""
    return float(value) if math.isfinite(value) else None
