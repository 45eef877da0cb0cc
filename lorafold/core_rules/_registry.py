"""The registry of core rules: how the r x r coordinates of the adapters combine into one matrix.

b = modules, N = adapters, r = rank of the merged subspaces U and V, K = largest rank of an adapter.

A rule is a pure, batched function in a file of its own, registered with what the pipeline must know about it:

    @core_rule("ties", elementwise=True, averages=True, check=check_density)
    def ties(cores: Tensor, weights: Tensor, *, density: float, elect: str) -> Tensor: ...

It takes C_i = UᵀΔW_iV as cores (b, N, r, r) and the signed weights w_i (b, N), both float64, and returns (b, r, r).
An adapter that lacks the module has a zero C_i. Options are keyword-only, annotated with int, float, str, bool or None;
their defaults are in `conf/core/<name>.yaml`, where there is such a file, and else in the signature. The global `scale`
is applied later, to the result. How other people add a rule is told in docs/extend/rule.md.

The flags, all off unless given:

- elementwise: the result depends on the bases of the subspaces, as that of a rule for entries does. The pipeline then
  turns the cores into the canonical gauge first, in which the leading directions of the adapters together come first
  (`lorafold.pipelines.merge.combine`), and the result back. Rules of singular values and inner products do not need it.
- random: the rule takes the keyword `noise` (b, N, r, r), uniform in [0, 1), float64. It is drawn for each module from
  `seed` and the module's name, so that it does not depend on how the work is split.
- factors: the rule takes `Factors` in place of the cores. What it gives may depend on how an adapter splits ΔW_i into
  factors; if so, its docstring says it. Together with `elementwise` the factors are in the canonical gauge.
- whole: the rule works on the layers themselves, on rows or columns that are single outputs or inputs, and not in
  subspaces. It takes all layers (`lorafold.core_space.Layer`) and the weights (M, N), and returns for each the float64
  factors (m, k) and (k, n) of the merged update; `core_rank` is max then (`lorafold.pipelines.merge.whole`).
- equal_ranks: the adapters that have a module must agree on its rank; the pipeline refuses others by name.
- adapters: how many the rule takes, where it is a fixed number; the settings of a merge of others are refused.
- is_sum: the result is the weighted sum Σ w_iC_i itself. A scale that gives it a norm is capped, for adapters that
  cancel are not to be blown up (`lorafold.scales.capped_for_sum`).
- averages: the weights' size cancels. It decides what becomes of tensors that have no core, biases above all: they are
  summed with w_i, or with w_i / Σ|w_i| where the rule averages.
- check: called with the options when the settings are read, it raises LorafoldError for a value out of range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lorafold.common.options import check_options, signature_defaults
from lorafold.common.registry import Registry


@dataclass(frozen=True)
class Factors:
    """The adapters' factors in the merged subspaces: C_i = UᵀΔW_iV = scales_i ups_i downs_i."""

    ups: Tensor  # UᵀB_i, zero from column r_i on  (b, N, r, K)
    downs: Tensor  # A_iV, zero from row r_i on  (b, N, K, r)
    scales: Tensor  # s_i  (b, N)
    ranks: Tensor  # r_i, 0 where adapter i lacks the module  (b, N)


@dataclass(frozen=True)
class CoreRule:
    """A rule and what the pipeline must know about it; see the module's docstring."""

    name: str
    function: Callable[..., Any]
    elementwise: bool = False
    random: bool = False
    factors: bool = False
    whole: bool = False
    equal_ranks: bool = False
    adapters: int | None = None
    is_sum: bool = False
    averages: bool = False
    check: Callable[..., None] | None = None

    def __call__(self, of: Tensor | Factors, weights: Tensor, **inputs: Any) -> Tensor:
        """The merged core (b, r, r) of cores, or of factors, and weights (b, N); `inputs` are noise and options."""
        core: Tensor = self.function(of, weights, **inputs)
        return core

    def bind(self, options: Mapping[str, Any]) -> CoreRule:
        """The rule with its options, checked.

        Raises:
            LorafoldError: an unknown option, or a value of another type or out of range.
        """
        given = check_options(self.function, options)
        if self.check:
            self.check(**given)
        return replace(self, function=partial(self.function, **given))

    def options(self) -> dict[str, Any]:
        """The options and their defaults, of a rule that has them in its signature."""
        return signature_defaults(self.function, {"noise"} if self.random else ())

    def coefficients(self, weights: Tensor) -> Tensor:
        """What w_i (..., N) become in a sum of numbers: w_i, or w_i / Σ|w_i| if the rule averages."""
        if not self.averages:
            return weights
        return weights / weights.abs().sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


CORE_RULES: Registry[CoreRule] = Registry("core rule", "lorafold.core_rules")


def core_rule(name: str, **flags: Any) -> Callable[[Callable[..., Any]], CoreRule]:
    """Register a function as the rule `name`; the flags are fields of `CoreRule`."""

    def register(function: Callable[..., Any]) -> CoreRule:
        return CORE_RULES.add(name, CoreRule(name, function, **flags), function)

    return register
