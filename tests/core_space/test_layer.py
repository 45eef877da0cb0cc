"""Layers side by side: which of them, in which slots, and how many at a time."""

from __future__ import annotations

import torch

from lorafold.core_space._layer import chunks, stack
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
