"""Lifting: coordinates in core space become factors of the layers, as a file wants them."""

from __future__ import annotations

import pytest
import torch

from lorafold.core_space import lift
from lorafold.core_space._layer import _CHUNK as CHUNK
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
def test_factors_are_rounded_to_the_dtype_asked_for(batch, dtype):
    """Once, at the end; a 16-bit file may differ by what comes before that in float32, so by its last bit at most."""
    coordinates = Source(1).normal(4, 6, 3)
    exact, rounded = (lift(batch, coordinates, coordinates, kind) for kind in (torch.float64, dtype))
    last_bit = torch.finfo(dtype).eps if torch.finfo(dtype).bits == 16 else 0.0
    for one, other in zip(exact, rounded, strict=True):
        assert all(b.dtype == dtype and b.is_contiguous() for b in other.factors)
        for a, b in zip(one.factors, other.factors, strict=True):
            torch.testing.assert_close(b, a.to(dtype), rtol=last_bit, atol=0)
        torch.testing.assert_close(one.gram, other.gram, rtol=0, atol=1e-5 if last_bit else 0)


@pytest.mark.parametrize("size", [1e-30, 1e-10, 1e10, 1e30])
def test_16_bit_factors_do_not_depend_on_the_size_of_those_of_the_files(size):
    source = Source(2)
    up, down, coordinates = source.normal(20, 3), source.normal(3, 15), source.normal(1, 3, 2)
    plain, scaled = (reduce_one(layer([factor * up], [down / factor])) for factor in (1.0, size))
    for one, other in zip(*(lift(b, coordinates, coordinates, torch.float16) for b in (plain, scaled)), strict=True):
        torch.testing.assert_close(other.factors[0], one.factors[0], rtol=2e-3, atol=1e-6)


def test_a_stack_of_factors_is_bounded_and_every_layer_in_exactly_one():
    point = torch.zeros(1, 1)

    def wide(m):  # views: no memory
        return layer([point.expand(m, 4), point.expand(m, 4)], [point.expand(4, 3)] * 2)

    most = CHUNK // 8  # rows of a stack of one layer
    widths = [most, most // 4, most, most // 4, most // 4, most // 4, most // 4, 4 * most]
    layers = [wide(m) for m in widths]
    found = list(chunks(layers, "left", [4, 4]))
    assert sorted(position for chunk in found for position in chunk) == list(range(8))
    assert sorted(map(len, found)) == [1, 1, 1, 1, 4]
    assert all(len({widths[position] for position in chunk}) == 1 for chunk in found)
    assert len(list(chunks(layers, "right", [4, 4]))) == 1


@pytest.mark.parametrize("difference", [1.0, 1e-2, 1e-5])
def test_16_bit_factors_of_a_small_difference_are_rounded_once(difference):
    """Terms that cancel leave nothing of float32's digits: their sum is formed in float64."""
    source = Source(3)
    up, down = source.normal(40, 3), source.normal(3, 30)
    other = up + difference * source.normal(40, 3)
    pair = reduce_one(layer([up, other], [down, source.normal(3, 30)]))
    wanted = torch.cat([torch.eye(3), -torch.eye(3)]).double()  # up - other
    coordinates = torch.linalg.solve(pair.left.transform[0], wanted)[None]
    found = lift(pair, coordinates, coordinates, torch.float16)[0].factors[0].double()
    torch.testing.assert_close(found, up - other, rtol=torch.finfo(torch.float16).eps, atol=1e-7)
