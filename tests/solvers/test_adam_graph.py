"""The recorded step of RiemannianAdam is that of geoopt."""

from __future__ import annotations

import pytest
import torch

from lorafold.common.batched import map_tensors
from lorafold.solvers._adam_graph import AdamCycle
from lorafold.solvers._solution import point
from lorafold.solvers._walk import _walk_with_geoopt, walk
from tests.builders import Source, full_problem
from tests.builders import one_thread as one_thread
from tests.solvers.problems import objective

RATES = torch.tensor([0.1, 0.02, 0.3, 0.05], dtype=torch.float64)


def cycle(distance="chordal", reconstruction="mean"):
    problem = full_problem(Source(0), 12, 10, [[3, 3], [2, 5], [4, 0], [1, 6]], [0.7, -0.2])
    F = objective(problem, 3, distance=distance, reconstruction=reconstruction)
    return F, point(F, Source(5).haar(4, 12, 3), Source(6).haar(4, 10, 3))


def assert_same(walked, followed):
    for name in ("left", "right", "value", "gradient_norm"):
        torch.testing.assert_close(getattr(walked, name), getattr(followed, name), rtol=0, atol=1e-11)


@pytest.mark.parametrize("steps", [1, 7, 200])
@pytest.mark.parametrize(("distance", "reconstruction"), [("chordal", "mean"), ("phi", "each"), ("geodesic", "mean")])
def test_the_same_walk_as_geoopt(distance, reconstruction, steps):
    F, start = cycle(distance, reconstruction)
    walked = AdamCycle(F, start, RATES, steps).run()
    assert_same(walked, _walk_with_geoopt(F, start, RATES, "grassmann", steps))
    assert float((walked.left - start.left).abs().max()) > 0.1


def test_steps_too_long_for_its_retraction_are_left_to_geoopt():
    F, start = cycle()
    assert AdamCycle(F, start, 100 * RATES, 3).run() is None


@pytest.mark.cuda
@pytest.mark.parametrize("rates", [RATES, 100 * RATES])
def test_replayed_on_a_gpu(rates):
    F, start = cycle()
    walked = walk(
        map_tensors(F, torch.Tensor.cuda), map_tensors(start, torch.Tensor.cuda), rates.cuda(), "grassmann", 50
    )
    assert walked.left.is_cuda
    assert_same(map_tensors(walked, torch.Tensor.cpu), walk(F, start, rates, "grassmann", 50))
