"""Rows of records: what every solver does to batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.common.batched import map_tensors, scatter_rows, scatter_rows_, select_rows


@dataclass(frozen=True)
class Record:
    name: str
    numbers: Tensor
    counts: Tensor
    flags: Tensor


def record(*values: float) -> Record:
    numbers = torch.tensor(values, dtype=torch.float64)
    return Record("x", numbers[:, None].expand(-1, 2), numbers.to(torch.int64), numbers > 2)


def assert_equal(one: Record, other: Record):
    assert one.name == other.name
    for a, b in zip((one.numbers, one.counts, one.flags), (other.numbers, other.counts, other.flags), strict=True):
        assert torch.equal(a, b) and a.dtype == b.dtype


def test_take_by_position_and_by_mask():
    assert_equal(select_rows(record(1, 2, 3), torch.tensor([2, 0])), record(3, 1))
    assert_equal(select_rows(record(1, 2, 3), torch.tensor([True, False, True])), record(1, 3))
    assert len(select_rows(record(1, 2, 3), torch.tensor([], dtype=torch.int64)).numbers) == 0


def test_put_is_the_inverse_of_take_and_leaves_the_old_record_alone():
    old, index = record(1, 2, 3), torch.tensor([2, 0])
    assert_equal(scatter_rows(old, index, record(7, 8)), record(8, 2, 7))
    assert_equal(scatter_rows(old, index, select_rows(old, index)), old)
    assert_equal(scatter_rows(old, index[:0], select_rows(old, index[:0])), old)
    assert_equal(old, record(1, 2, 3))


def test_put_in_place_is_put_into_the_record_itself():
    old = Record("x", torch.eye(3, 2), torch.tensor([1, 2, 3]), torch.tensor([False, False, True]))
    new, rows, index = map_tensors(old, torch.Tensor.clone), record(7, 8), torch.tensor([2, 0])
    rows = map_tensors(rows, lambda value: value.to(torch.float32) if value.is_floating_point() else value)
    assert_equal(scatter_rows_(new, index, rows), scatter_rows(old, index, rows))
    assert_equal(new, scatter_rows(old, index, rows))
