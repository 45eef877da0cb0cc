"""Batched solvers that stop on a certificate, module by module."""

from lorafold.solvers import _alternating as _alternating
from lorafold.solvers import _riemannian_adam as _riemannian_adam
from lorafold.solvers import _trust_region as _trust_region
from lorafold.solvers._manifolds import MANIFOLDS as MANIFOLDS
from lorafold.solvers._registry import SOLVERS as SOLVERS
from lorafold.solvers._registry import solver as solver
from lorafold.solvers._solution import Solution as Solution
from lorafold.solvers._solution import relative_gradient_norm as relative_gradient_norm
