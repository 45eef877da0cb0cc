"""Batched solvers that stop on a certificate, module by module."""

from lorafold.common.registry import import_siblings
from lorafold.solvers._manifolds import MANIFOLDS as MANIFOLDS
from lorafold.solvers._registry import SOLVERS as SOLVERS
from lorafold.solvers._registry import solver as solver
from lorafold.solvers._solution import Solution as Solution
from lorafold.solvers._solution import relative_gradient_norm as relative_gradient_norm

import_siblings(__name__, __path__)
