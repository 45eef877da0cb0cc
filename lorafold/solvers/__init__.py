"""Batched solvers that stop on a certificate, module by module."""

from lorafold.solvers import alternating as alternating
from lorafold.solvers import riemannian_adam as riemannian_adam
from lorafold.solvers import trust_region as trust_region
from lorafold.solvers._manifolds import MANIFOLDS as MANIFOLDS
from lorafold.solvers._registry import SOLVERS as SOLVERS
from lorafold.solvers._registry import solver as solver
from lorafold.solvers._solution import Solution as Solution
from lorafold.solvers._solution import relative_gradient_norm as relative_gradient_norm
