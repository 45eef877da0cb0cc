"""The gauge that a minimisation ends in: its gradient is the one that it says."""

from __future__ import annotations

import pytest
import torch

from lorafold.core_space.balanced import Factors
from lorafold.pipelines.align.gauge import _relative_gradient, general_gauge
from lorafold.pipelines.align.newton import _sylvester
from tests.builders import Source
from tests.builders import one_thread as one_thread


def factors(seed: int, sizes: tuple[float, float] = (1.0, 1.0)) -> Factors:
    source = Source(seed)
    return Factors(*(size * source.normal(2, 7, 3) for size in sizes))


@pytest.mark.parametrize("sizes", [(1.0, 1.0), (3.0, 0.2), (1e-3, 1e-3)])
def test_the_gradient_is_that_of_the_definition(sizes):
    """Of f(G exp E) at E = 0, by automatic differentiation, over ‖X‖² + ‖Y‖² of both adapters."""
    first, second = factors(0), factors(1, sizes)
    E = torch.zeros(2, 3, 3, dtype=torch.float64, requires_grad=True)
    moved = second.times(torch.linalg.matrix_exp(E), torch.linalg.matrix_exp(-E))
    gaps = [(one - other).square().sum() for one, other in ((first.up, moved.up), (first.down, moved.down))]
    (gradient,) = torch.autograd.grad(sum(gaps), E)
    size = sum(factor.square().sum((1, 2)) for each in (first, second) for factor in (each.up, each.down))
    expected = torch.linalg.matrix_norm(gradient) / size
    torch.testing.assert_close(_relative_gradient(first, second, second), expected, rtol=1e-12, atol=0)


def test_of_adapters_that_change_nothing_it_is_zero():
    nothing = factors(0, (0.0, 0.0))
    gauge = general_gauge(nothing, nothing)
    assert gauge.gradient.tolist() == [0, 0] and bool(gauge.converged.all()) and gauge.steps.tolist() == [0, 0]


@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_sylvesters_equation_is_solved(damping):
    """The second factors have rank 2 of 3, which leaves a part of the equation without a solution, but for damping."""
    source = Source(4)
    up, down = ((X.mT @ X) for X in (source.normal(2, 7, 3), source.normal(2, 2, 3)))
    solve, shift = _sylvester(up, down, torch.full((2,), damping, dtype=torch.float64))
    right_side = source.normal(2, 3, 3)
    found = solve(right_side)
    torch.testing.assert_close(up @ found + found @ down + shift * found, right_side, rtol=0, atol=1e-10)
