"""The registry of core rules: how the r x r coordinates of the adapters combine into one matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CORE_RULES: dict[str, Callable[..., Any]] = {}


def core_rule(name: str) -> Callable[[Any], Any]:
    """Register `rule(cores, weights, **options)` under `name`.

    A rule takes C_i = UᵀΔW_iV as (b, N, r, r) and the weights w_i as (b, N); an adapter that lacks the module has a
    zero C_i. It returns (b, r, r). Options are keyword-only, with their defaults in `conf/core/<name>.yaml`.
    """

    def register(function: Any) -> Any:
        CORE_RULES[name] = function
        return function

    return register
