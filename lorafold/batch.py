"""Frozen dataclasses whose tensor fields share the leading dimension b: one row per module of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

from torch import Tensor

Record = TypeVar("Record")


def map_tensors(record: Record, change: Callable[[Tensor], Tensor]) -> Record:
    """The record with `change` applied to each tensor field; other fields are kept."""
    return replace(record, **{name: change(value) for name, value in _tensors(record)})  # type: ignore[type-var]


def take(record: Record, index: Tensor) -> Record:
    """The rows `index` (integers or a mask) of a record."""
    return map_tensors(record, lambda value: value[index])


def put(record: Record, index: Tensor, rows: Record) -> Record:
    """The record with its rows `index` replaced."""
    new = dict(_tensors(rows))
    return replace(
        record,  # type: ignore[type-var]
        **{name: value.index_put((index,), new[name].to(value.dtype)) for name, value in _tensors(record)},
    )


def to_floating(record: Record, dtype: Any) -> Record:
    """The record with its floating-point tensors in another dtype."""
    return map_tensors(record, lambda value: value.to(dtype) if value.is_floating_point() else value)


def _tensors(record: Any) -> list[tuple[str, Tensor]]:
    pairs = [(field.name, getattr(record, field.name)) for field in fields(record)]
    return [(name, value) for name, value in pairs if isinstance(value, Tensor)]
