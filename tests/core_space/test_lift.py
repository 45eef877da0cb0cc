"""Lifting: coordinates in core space become factors of the layers, as a file wants them."""

from __future__ import annotations

import pytest
import torch

from lorafold.core_space import lift
from lorafold.core_space._layer import chunks
from tests.builders import Source, layer, random_layer
from tests.core_space.lifted import lifted, reduce_one


@pytest.fixture
def batch():
    source = Source(0)
    return reduce_one(*(random_layer(source, m, n, [4, 2]) for m, n in ((20, 15), (8, 30), (20, 30), (3, 5))))


def test_factors_are_the_bases_times_the_coordinates(batch):
    source = Source(1)
    left, right = source.normal(4, 6, 3), source.normal(4, 6, 3)
    up, down = lift(batch, left, right, torch.float64)
    for row in range(4):
        Q, P = lifted(batch, row).bases
        torch.testing.assert_close(up.factors[row], Q @ left[row], rtol=0, atol=1e-13)
        torch.testing.assert_close(down.factors[row], (P @ right[row]).mT, rtol=0, atol=1e-13)
        torch.testing.assert_close(up.gram[row], up.factors[row].mT @ up.factors[row], rtol=0, atol=1e-12)
        torch.testing.assert_close(down.gram[row], down.factors[row] @ down.factors[row].mT, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_factors_are_rounded_once_at_the_end(batch, dtype):
    coordinates = Source(1).normal(4, 6, 3)
    exact, rounded = (lift(batch, coordinates, coordinates, kind) for kind in (torch.float64, dtype))
    for one, other in zip(exact, rounded, strict=True):
        assert all(b.dtype == dtype and b.is_contiguous() for b in other.factors)
        assert all(torch.equal(a.to(dtype), b) for a, b in zip(one.factors, other.factors, strict=True))
        assert torch.equal(one.gram, other.gram)


def test_a_stack_of_factors_is_bounded_and_every_layer_in_exactly_one():
    """Layers of one width share a stack until it holds 2^23 numbers."""
    point = torch.zeros(1, 1)

    def wide(m):  # views: no memory
        return layer([point.expand(m, 4), point.expand(m, 4)], [point.expand(4, 3)] * 2)

    widths = [2**20, 2**18, 2**20, 2**18, 2**18, 2**18, 2**18, 2**22]
    layers = [wide(m) for m in widths]
    found = list(chunks(layers, "left", [4, 4]))
    assert sorted(position for chunk in found for position in chunk) == list(range(8))
    assert sorted(map(len, found)) == [1, 1, 1, 1, 4]
    assert all(len({widths[position] for position in chunk}) == 1 for chunk in found)
    assert len(list(chunks(layers, "right", [4, 4]))) == 1
