"""The trust region as a solver of its own.

b = modules.
"""

from __future__ import annotations

from lorafold.common.errors import LorafoldError
from lorafold.objectives import Objective
from lorafold.solvers._registry import solver
from lorafold.solvers._settle import begin, descent, settled, solution
from lorafold.solvers._solution import Solution


@solver("trust_region")
def trust_region(objective: Objective, *, tol: float, max_steps: int, starts: int | None = None) -> Solution:
    """Exact eigenspaces, then Newton steps (see `_newton.py`) until every module's certificate holds.

    Args:
        objective: of a distance that is a sum over the principal angles.
        tol: bound on the relative Riemannian gradient norm.
        max_steps: give up on a module after so many; it is then reported as not converged.
        starts: how many (see `_starts.py`); None: enough.

    Raises:
        LorafoldError: a distance without a Hessian.
    """
    if not objective.is_curved:
        raise LorafoldError(
            "solver=trust_region needs a Hessian, and this objective's distance is no sum over the principal angles",
            remedy="Choose solver=riemannian_adam or solver=alternating.",
        )
    newton = descent(objective, tol, max_steps)
    return solution(settled(objective, begin(objective, newton, starts), newton), tol)
