"""Batched solvers that stop on a certificate, module by module."""

from lorafold.common.registry import import_siblings
from lorafold.solvers._manifolds import MANIFOLDS as MANIFOLDS
from lorafold.solvers._registry import SOLVERS as SOLVERS
from lorafold.solvers._registry import solver as solver
from lorafold.solvers._solution import Method as Method
from lorafold.solvers._solution import Solution as Solution
from lorafold.solvers._solution import point as point

# What `solver.start` may be.
STARTS = ("newton", "closed_form")

import_siblings(__name__, __path__)
