"""What rounding adds to a difference: as much as the closed form says, and no direction beyond its edge."""

from __future__ import annotations

import pytest
import torch

from lorafold.pipelines.extract.rounding import rounding
from tests.builders import Source
from tests.builders import one_thread as one_thread


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(200, 200), (300, 40), (24, 16)])
def test_a_cast(dtype, shape):
    weight = 0.02 * Source(1).normal(*shape)
    noise = weight.to(dtype).double() - weight
    expected = rounding(weight, torch.float64, dtype)
    assert 0.8 < float(noise.square().sum()) / expected.energy < 1.25
    assert torch.linalg.matrix_norm(noise, 2) < expected.edge
    assert expected.edge < 5 * torch.linalg.matrix_norm(noise, 2)


def test_two_files_add_up():
    weight = Source(2).normal(50, 50)
    one, two = rounding(weight, torch.bfloat16), rounding(weight, torch.bfloat16, torch.bfloat16)
    assert two.energy == pytest.approx(2 * one.energy)


def test_numbers_below_the_normal_ones_have_a_spacing_of_their_own():
    weight = 1e-7 * Source(3).normal(100, 100)
    noise = weight.half().double() - weight
    expected = rounding(weight, torch.float16)
    assert 0.7 < float(noise.square().sum()) / expected.energy < 1.3


def test_a_change_above_the_rounding_stands_out():
    source = Source(4)
    weight = 0.02 * source.normal(200, 200)
    change = 0.02 * source.normal(200, 1) @ source.normal(1, 200) / 20
    base, tuned = weight.bfloat16(), (weight + change).bfloat16()
    sigma = torch.linalg.svdvals(tuned.double() - base.double())
    edge = rounding(base, torch.bfloat16, torch.bfloat16).edge
    assert sigma[0] > edge > sigma[1]
