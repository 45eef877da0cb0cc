"""Each name is the manifold it says: what is tangent, and whether a step follows the geodesic."""

from __future__ import annotations

import pytest
import torch

from lorafold.solvers import MANIFOLDS
from lorafold.solvers._manifolds import manifold
from tests.builders import Source
from tests.builders import one_thread as one_thread
from tests.oracles import projector

U = Source(0).haar(9, 3)


@pytest.mark.parametrize("name", MANIFOLDS)
def test_turns_of_the_basis_are_tangent_on_stiefel_only(name):
    """A subspace does not move when its basis turns."""
    turn = U @ (Source(1).normal(3, 3) - Source(1).normal(3, 3).mT)
    expected = turn if name == "stiefel" else torch.zeros_like(turn)
    torch.testing.assert_close(manifold(name).proju(U, turn), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["grassmann", "grassmann_exact"])
def test_a_step_is_along_the_geodesic_on_the_exact_one_only(name):
    """Of a single angle t both planes agree in direction: the geodesic turns by t, a retraction by another angle."""
    step = manifold(name).proju(U, Source(2).normal(9, 3))
    moved = manifold(name).retr(U, step)
    exact = manifold("grassmann_exact").expmap(U, step)
    same = torch.allclose(projector(moved), projector(exact), rtol=0, atol=1e-10)
    assert same is (name == "grassmann_exact")
