"""Alternating minimisation with Anderson acceleration.

b = modules.
"""

from __future__ import annotations

from lorafold.objectives import Objective
from lorafold.solvers._registry import solver
from lorafold.solvers._settle import Descent, begin, settled, solution
from lorafold.solvers._solution import Method, Solution


@solver("alternating")
def alternating(objective: Objective, *, tol: float, max_sweeps: int, starts: int | None = None) -> Solution:
    """Sweeps (see `_sweep.py`) with Anderson acceleration until every module's certificate holds.

    Args:
        tol: bound on the relative Riemannian gradient norm.
        max_sweeps: give up on a module after so many; it is then reported as not converged.
        starts: how many (see `_starts.py`); None: enough.
    """
    descent = Descent(Method.SWEEPS, tol, max_sweeps)
    return solution(settled(objective, begin(objective, descent, starts), descent), tol)
