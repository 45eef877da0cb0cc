"""Layers side by side: which of them, in which slots, and how many at a time."""

from __future__ import annotations

import pytest
import torch

from lorafold.core_space._layer import chunks, stack, stack_on, through_pinned
from tests.builders import Source, layer, random_layer


def test_few_numbers_are_stacked_at_once_and_many_one_layer_at_a_time():
    source = Source(0)
    small = [random_layer(source, m, 3, [2, 1]) for m in (4, 5, 4)]
    assert [*chunks(small, "left", [2, 1])] == [[0, 2], [1]]
    assert [*chunks(small, "right", [2, 1])] == [[0, 1, 2]]
    number = torch.zeros(1)
    large = [layer([number.expand(2**19, 4)], [number.expand(4, 3)])] * 2
    assert [*chunks(large, "left", [4])] == [[0], [1]]


def test_every_adapter_has_its_slot_and_zeros_in_the_rest_of_it():
    source = Source(0)
    layers = [random_layer(source, 4, 3, ranks) for ranks in ([2, 1], [1, 0])]
    for side in ("left", "right"):
        found = stack(layers, side, [2, 3], torch.float64)
        for row, each in zip(found, layers, strict=True):
            for slot, factor in zip(row.split([2, 3], 1), each.tall(side), strict=True):
                assert torch.equal(slot[:, : factor.shape[1]], factor) and not slot[:, factor.shape[1] :].any()


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_travels_in_the_dtype_of_the_files_is_the_same(side):
    source = Source(0)
    layers = [random_layer(source, 5, 5, [2, 3]) for _ in range(4)]
    moved = through_pinned(layers, side, [2, 3], layers[0].ups[0].dtype, torch.device("cpu"))
    expected = stack(layers, side, [2, 3], moved.dtype)
    assert torch.equal(moved, expected) and moved.stride() == expected.stride()


@pytest.mark.cuda
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("ranks", [[2, 3], [2, 1]])
def test_on_a_gpu(side, ranks):
    source = Source(0)
    layers = [random_layer(source, 5, 5, ranks) for _ in range(4)]
    found = stack_on(layers, side, [2, 3], torch.float64, torch.device("cuda"))
    assert torch.equal(found.cpu(), stack(layers, side, [2, 3], torch.float64))
