"""Norms by blocks, beside float64."""

from __future__ import annotations

import pytest
import torch

from lorafold.common.blocks import row_blocks, square_norm
from tests.builders import Source
from tests.builders import one_thread as one_thread


@pytest.mark.parametrize("shape", [(700, 900), (1, 5), (5, 1), (0, 3)], ids=str)
def test_blocks_cover_every_row_once(shape):
    matrix = torch.zeros(shape)
    for rows in row_blocks(*shape):
        matrix[rows] += 1
    assert bool((matrix == 1).all())


@pytest.mark.parametrize("size", [1e-30, 1e-18, 1e-3, 1.0, 1e18, 1e30])
@pytest.mark.parametrize("shape", [(300, 4000), (4000, 1), (1, 4000)], ids=str)
def test_the_norm_is_that_in_float64_however_large_the_numbers(size, shape):
    matrix = Source(0).normal(*shape).float() * size
    expected = float(matrix.double().square().sum())
    assert square_norm(matrix) == pytest.approx(expected, rel=2e-7)
    assert square_norm(matrix.double()) == pytest.approx(expected, rel=1e-12)


def test_nothing_and_what_is_no_number():
    assert square_norm(torch.zeros(3, 4)) == square_norm(torch.zeros(0, 4)) == 0
    assert not square_norm(torch.tensor([[1.0, torch.nan]])) < torch.inf
    assert square_norm(torch.tensor([[1.0, torch.inf]])) == torch.inf
