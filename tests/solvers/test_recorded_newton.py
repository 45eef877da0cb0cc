"""Newton steps that are recorded once and replayed lead where they lead one by one."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from lorafold.common.batched import map_tensors
from lorafold.common.cuda_graph import Replayed
from lorafold.solvers import _newton
from lorafold.solvers._bases import Bases, completed
from lorafold.solvers._newton import descend
from tests.builders import Source, full_problem
from tests.builders import one_thread as one_thread
from tests.solvers.problems import objective

TOL = 1e-9


def case(distance):
    source = Source(0)
    F = objective(full_problem(source, 12, 10, [[3, 3], [2, 5], [4, 0], [1, 6]], [0.7, -0.2]), 3, distance=distance)
    return F, Bases(completed(source.haar(4, 12, 3)), completed(source.haar(4, 10, 3)))


def assert_same(one, other):
    for name in ("value", "gradient_norm"):
        torch.testing.assert_close(getattr(one[0], name), getattr(other[0], name), rtol=0, atol=TOL)
    for name in ("left", "right"):
        a, b = getattr(one[0], name), getattr(other[0], name)
        torch.testing.assert_close(a @ a.mT, b @ b.mT, rtol=0, atol=1e-7)
    assert (one[1] - other[1]).abs().max() <= 1


@pytest.mark.parametrize("distance", ["chordal", "geodesic"])
def test_a_recording_changes_nothing(monkeypatch, distance):
    F, bases = case(distance)
    plain, recorded = descend(F, bases, TOL, 200), []
    start = bases.left.clone()

    def record(once):
        recorded.append(once)
        return once

    monkeypatch.setattr(_newton, "Replayed", partial(Replayed, record=record))
    assert_same(descend(F, bases, TOL, 200), plain)
    assert recorded and torch.equal(bases.left, start)


def test_what_is_not_taken_stays_as_it_is():
    F, bases = case("chordal")
    here = _newton._begin(F, bases)
    there = map_tensors(here, lambda tensor: tensor + 1)
    chosen = _newton._chosen(torch.tensor([True, False, True, False]), there, here)
    for row, expected in enumerate((there, here, there, here)):
        assert torch.equal(chosen.model.far[row], expected.model.far[row])
        assert torch.equal(chosen.radius[row], expected.radius[row])
    assert chosen.model.far.dtype == here.model.far.dtype


@pytest.mark.cuda
@pytest.mark.parametrize("distance", ["chordal", "geodesic"])
def test_on_a_gpu(distance):
    F, bases = case(distance)
    last, steps = descend(map_tensors(F, torch.Tensor.cuda), map_tensors(bases, torch.Tensor.cuda), TOL, 200)
    assert last.left.is_cuda
    assert_same((map_tensors(last, torch.Tensor.cpu), steps.cpu()), descend(F, bases, TOL, 200))
