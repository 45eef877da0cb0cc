"""The weights of a merge: one number per adapter, and others for modules whose names match a regular expression.

These may grow along the depth of the model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lorafold.common.errors import LorafoldError
from lorafold.common.safe_regex import compiled, too_slow, unusable

# One for a module wherever it is; or several, from the first block of the model to the last.
Weight = float | tuple[float, ...]


@dataclass(frozen=True)
class Weights:
    """w_i of every module: those of the first pattern that occurs in its name, else the default, times its factors."""

    default: list[float]
    patterns: tuple[tuple[re.Pattern[str], list[Weight]], ...] = ()
    factors: Mapping[str, Sequence[float]] = field(default_factory=dict)  # by name, where they are not 1 each
    own: Mapping[str, list[float]] = field(default_factory=dict)  # by name, in place of all that
    depths: Mapping[str, float | None] = field(default_factory=dict)  # by name, see `depths`

    @property
    def vary(self) -> bool:
        """Whether modules may have weights of their own."""
        return bool(self.patterns or self.factors or self.own)

    def of(self, name: str) -> list[float]:
        """w_i for the module, or other tensor, of this name."""
        if name in self.own:
            return self.own[name]
        pattern, given = next((pair for pair in self.patterns if pair[0].search(name)), (None, self.default))
        weights = [self._at(weight, name, pattern) for weight in given]
        factors = self.factors.get(name)
        return [w * f for w, f in zip(weights, factors, strict=True)] if factors else weights

    @property
    def grow(self) -> bool:
        """Whether some depend on the depth."""
        return any(isinstance(weight, tuple) for _, weights in self.patterns for weight in weights)

    def _at(self, weight: Weight, name: str, pattern: re.Pattern[str] | None) -> float:
        """At the depth of a module; between two values, on the line from the one to the other."""
        if not isinstance(weight, tuple):
            return weight
        depth = self.depths.get(name)
        if depth is None:
            raise LorafoldError(
                f"module_weights[{pattern and pattern.pattern!r}] grows along the blocks, but this lies in none",
                key=name,
                remedy="Put a pattern for it, with one number per adapter, in front.",
            )
        position = depth * (len(weight) - 1)
        first = min(int(position), len(weight) - 2)
        return weight[first] + (position - first) * (weight[first + 1] - weight[first])

    def relative(self, present: Mapping[str, Sequence[bool]]) -> Weights:
        """w_i / Σ|w_j| of the adapters that have a module: a weighted mean at full strength, times the largest factor.

        Args:
            present: by name, which adapters have that module or tensor.
        """
        own = {name: _shares(self.of(name), there, self.factors.get(name, [1.0])) for name, there in present.items()}
        return Weights(_shares(self.default, [True] * len(self.default), [1.0]), own=own)

    def check(self, names: Iterable[str]) -> None:
        """Raise LorafoldError if a pattern occurs in no name: it is misspelt, or meant for another model."""
        known = list(names)
        if slow := unusable([pattern.pattern for pattern, _ in self.patterns], known):
            raise too_slow("module_weights", slow)
        for pattern, _ in self.patterns:
            if not any(map(pattern.search, known)):
                raise LorafoldError(
                    f"module_weights[{pattern.pattern!r}] matches none of {len(known)} modules",
                    remedy=f"Their names are like {known[0]!r} and {known[-1]!r}.",
                )


def read_weights(weights: Any, module_weights: Any, count: int) -> Weights:
    """Check the weights of `count` adapters.

    Args:
        weights: None or "mean" (1 / count each), "sum" (1 each), or a finite number per adapter, not all zero.
        module_weights: None, or a mapping from regular expressions to a finite number per adapter, or in place of one a
            list of two or more, which are those of the first to the last block of the model, evenly spread.

    Raises:
        LorafoldError: anything else.
    """
    if not (module_weights is None or isinstance(module_weights, Mapping)):
        raise LorafoldError(
            f"module_weights={module_weights!r}, expected a mapping from regular expressions to weights",
            remedy=f"For example 'module_weights={{up_blocks: [{_example(count)}]}}'.",
        )
    given = module_weights or {}
    patterns = [(compiled("module_weights", key), _own(key, value, count)) for key, value in given.items()]
    return Weights(_default(weights, count), tuple(patterns))


def _shares(weights: Sequence[float], present: Sequence[bool], factors: Sequence[float]) -> list[float]:
    strength = max(map(abs, factors))
    sizes = [weight if there else 0.0 for weight, there in zip(weights, present, strict=True)]
    size = math.fsum(map(abs, sizes))
    return [strength * weight / size for weight in sizes] if size else sizes


def _default(weights: Any, count: int) -> list[float]:
    if weights is None or weights == "mean":
        return [1 / count] * count
    if weights == "sum":
        return [1.0] * count
    values = list(weights) if isinstance(weights, Sequence) and not isinstance(weights, str) else [weights]
    if not _are_numbers(values, count) or not any(values):
        raise LorafoldError(
            f"weights={weights!r}, expected {count} finite numbers, one per adapter, not all zero",
            remedy=f"For example 'weights=[{_example(count)}]'; mean is their mean, sum their sum.",
        )
    return [float(value) for value in values]


def _own(key: Any, weights: Any, count: int) -> list[Weight]:
    values = list(weights) if isinstance(weights, Sequence) and not isinstance(weights, str) else []
    if len(values) != count or not all(is_finite(value) or _grows(value) for value in values):
        raise LorafoldError(
            f"module_weights[{str(key)!r}]={weights!r}, expected {count} finite numbers, one per adapter",
            remedy=f"For example [{_example(count)}]; a list in place of one, [0,1], grows along the blocks.",
        )
    return [tuple(map(float, value)) if _grows(value) else float(value) for value in values]


def _grows(value: Any) -> bool:
    several = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 1
    return several and all(map(is_finite, value))


def _are_numbers(values: Sequence[Any], count: int) -> bool:
    return len(values) == count and all(map(is_finite, values))


def is_finite(value: Any) -> bool:
    """Whether the value is a finite number; `True` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _example(count: int) -> str:
    return ",".join([f"{1 / count:.2g}"] * count)
