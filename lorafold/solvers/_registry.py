"""The registry of solvers: functions of an objective and keyword-only options that return a `Solution`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lorafold.solvers._solution import Solution

Solver = Callable[..., Solution]
SOLVERS: dict[str, Solver] = {}


def solver(name: str) -> Callable[[Any], Any]:
    """Register a solver under `name`; its options and their defaults are in `conf/solver/<name>.yaml`."""

    def register(function: Any) -> Any:
        SOLVERS[name] = function
        return function

    return register
