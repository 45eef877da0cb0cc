"""Rounding up or down at random: to a neighbour, right on average, the same for one seed."""

from __future__ import annotations

import pytest
import torch

from lorafold.common.seeds import generator_of
from lorafold.pipelines.fuse.rounding import stochastic
from tests.builders import Source
from tests.builders import one_thread as one_thread


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_to_one_of_the_two_numbers_around(dtype):
    source = Source(1)
    values = torch.cat([source.normal(500), 1e-8 * source.normal(500), torch.zeros(3), -torch.zeros(2)])
    drawn = stochastic(values, dtype, generator_of(0, "a"))
    nearest = values.to(dtype)
    below = torch.nextafter(nearest.float(), torch.tensor(-torch.inf)) if dtype == torch.float32 else None
    spacing = (drawn.double() - values).abs()
    assert bool((spacing <= 2 * (nearest.double() - values).abs().max(_ulp(nearest))).all())
    assert bool((drawn[1000:] == 0).all()) and (below is None or below.dtype == torch.float32)
    exact = nearest.double()
    assert torch.equal(stochastic(exact, dtype, generator_of(0, "a")), nearest)


def _ulp(values: torch.Tensor) -> torch.Tensor:
    bits = {2: torch.int16, 4: torch.int32}[values.element_size()]
    return ((values.abs().view(bits) + 1).view(values.dtype).double() - values.abs().double()).abs()


@pytest.mark.parametrize("value", [1.003, -0.7501, 3e-8, -65000.0])
def test_right_on_average(value):
    values = torch.full((40000,), value, dtype=torch.float64)
    drawn = stochastic(values, torch.float16, generator_of(1, "a")).double()
    assert len(drawn.unique()) == 2
    assert drawn.unique()[0] < value < drawn.unique()[1]
    spread = float(drawn.unique()[1] - drawn.unique()[0])
    assert abs(float(drawn.mean()) - value) < 5 * spread / 2 / 200


def test_by_seed_and_name():
    values = Source(2).normal(100)
    drawn = [stochastic(values, torch.bfloat16, generator_of(*key)) for key in ((0, "a"), (0, "a"), (0, "b"), (1, "a"))]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[3])


def test_the_largest_number_stays_finite():
    largest = torch.tensor([65504.0, 65510.0], dtype=torch.float64)
    assert bool(stochastic(largest, torch.float16, generator_of(0, "a")).isfinite().all())
