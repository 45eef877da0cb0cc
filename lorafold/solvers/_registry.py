"""The registry of solvers: functions of an objective and keyword-only options that return a `Solution`.

Options are what those of a core rule are; numbers among them are finite and at least 0. A solver with the option
`manifold` is given the name of the manifold that was chosen. Defaults are in `conf/solver/<name>.yaml`, where there is
such a file, and else in the signature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lorafold.common.registry import Registry
from lorafold.solvers._solution import Solution

Solver = Callable[..., Solution]
SOLVERS: Registry[Solver] = Registry("solver", "lorafold.solvers")


def solver(name: str) -> Callable[[Any], Any]:
    """Register a function as the solver `name`."""

    def register(function: Any) -> Any:
        return SOLVERS.add(name, function, function)

    return register
