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
from lorafold.pipelines.compare.chance import Array, combined_p, sign_test
from lorafold.pipelines.compare.pair import SIDES, Bools, ComparedBatch, Modules, Pair, modules_of, pair_of
from lorafold.pipelines.compare.verdict import read_pair, shared_initialisation, verdict


def compare_metrics(
    inputs: Sequence[Adapter], batches: Sequence[ComparedBatch], alpha: float, seconds: Mapping[str, float]
) -> Json:
    """Inputs, summary and one entry per module, in the order of the first adapter; null where nothing is defined.

    Per pair: `cosine` of the updates as one vector each, and its standard deviation for independent updates
    (`cosine_null_sd`) and for independent ones inside the same subspaces (`cosine_shared_sd`); `norm_ratio`
    ‖ΔW_j‖ / ‖ΔW_i‖; `in_sum`, by which share of itself each is strengthened in ΔW_i + ΔW_j. Per side: the mean over
    modules of φ and of its chance level, `phi_energy` weighted by ‖ΔW_i‖ ‖ΔW_j‖, the median z-score, in how many
    modules the p-value adjusted for all modules and both sides (Holm) is at most alpha, and Fisher's combined p-value.
    """
    modules = modules_of(batches)
    pairs = [pair_of(batches, modules, index) for index in batches[0].overlaps]
    names = [layer.name for layer in modules.layers]
    groups = [group_of(name) for name in names]
    titles = labels(groups, limit=len(groups))
    parts = {"group": [titles[group] for group in groups], "kind": [kind_of(name) for name in names]}
    return {
        "inputs": [input_entry(*entry) for entry in zip(inputs, modules.energies.sum(1).tolist(), strict=True)],
        "summary": {
            "modules": len(names),
            "alpha": alpha,
            "pairs": [_pair(pair, alpha) for pair in pairs],
            **_matrices(modules, pairs),
            "groups": _parts(parts["group"], pairs),
            "kinds": _parts(parts["kind"], pairs),
            "seconds": dict(seconds),
            **peak_memory(),
        },
        "modules": _modules(modules, pairs, parts),
    }


def _pair(pair: Pair, alpha: float) -> Json:
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
        **{side: _side_summary(pair, row, alpha) for row, side in enumerate(SIDES)},
    }
    entry["shared_initialisation"] = _initialisation(pair, entry["right"], alpha)
    return {**entry, "verdict": verdict(entry, alpha), "reading": read_pair(entry, alpha)}


def _side_summary(pair: Pair, row: int, alpha: float) -> Json:
    phi, chance = pair.phi[row], pair.chance
    weights = np.sqrt(pair.energies.prod(0))[np.isfinite(phi)]
    finite = phi[np.isfinite(phi)]
    return {
        "phi": _mean(phi),
        "chance": _mean(chance.expected[row]),
        "phi_energy": float(weights @ finite / weights.sum()) if finite.size else None,
        "z": float(np.median(chance.z[row][np.isfinite(phi)])) if finite.size else None,
        "tested": finite.size,
        "significant": int((chance.p_adjusted[row] <= alpha).sum()),
        "p_combined": combined_p(chance.p[row]),
    }


def _initialisation(pair: Pair, right: Json, alpha: float) -> Json:
    """The pattern of a seed in common, and the numbers that it rests on; see `reading.shared_initialisation`."""
    excess = pair.phi - pair.chance.expected
    test = sign_test(excess)
    return {
        "detected": shared_initialisation(right["significant"], right["tested"], test.p, alpha),
        "modules": test.compared,
        "right_above_left": test.larger,
        "p": test.p,
        "right_significant": right["significant"],
        "excess": {side: _mean(excess[row]) for row, side in enumerate(SIDES)},
    }


def _matrices(modules: Modules, pairs: Sequence[Pair]) -> Json:
    """N x N, symmetric; on the diagonal an adapter with itself, and the chance level of another of its ranks."""
    alone = [_chance_alone(modules, adapter) for adapter in range(len(modules.dims))]
    itself = [1.0 if energy > 0 else None for energy in modules.energies.sum(1)]

    def both_sides(diagonals: Sequence[Sequence[Any]], value: Callable[[Pair], Array]) -> Json:
        return {
            side: _symmetric(diagonals[row], {pair.pair: _mean(value(pair)[row]) for pair in pairs})
            for row, side in enumerate(SIDES)
        }

    return {
        "phi_matrix": both_sides([itself, itself], lambda pair: pair.phi),
        "chance_matrix": both_sides(list(zip(*alone, strict=True)), lambda pair: pair.chance.expected),
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
        side: {"phi": _mean(pair.phi[row, where]), "chance": _mean(pair.chance.expected[row, where])}
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
        "phi_grid_mean": _number(pair.grid_mean[row, at]),
        "chance": _number(chance.expected[row, at]),
        "z": _number(chance.z[row, at]),
        "p": _number(chance.p[row, at]),
        "p_adjusted": _number(chance.p_adjusted[row, at]),
        "angles": pair.angles[row][at],
        "distances": {name: _number(values[row, at]) for name, values in pair.distances.items()},
    }


def _mean(values: Array) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None


def _ratio(norms: Array) -> float | None:
    """Second to first; null where the first is zero."""
    return float(norms[1] / norms[0]) if norms[0] > 0 else None


def _number(value: Any) -> float | None:
    """A finite number, or null: JSON has neither NaN nor infinity (the Martin distance knows both)."""
    return float(value) if math.isfinite(value) else None
