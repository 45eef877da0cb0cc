"""Frozen dataclasses whose tensors share the leading dimension b: one row per module of a batch.

A field may also be such a dataclass itself; fields of other types are kept as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from torch import Tensor

Record = TypeVar("Record")


def map_tensors(record: Record, change: Callable[..., Tensor], *others: Record) -> Record:
    """The record with `change(tensor, *tensors of the others)` for each tensor."""
    changed: dict[str, Any] = {}
    for field in fields(record):  # type: ignore[arg-type]
        value, *rest = (getattr(each, field.name) for each in (record, *others))
        if isinstance(value, Tensor):
            changed[field.name] = change(value, *rest)
        elif is_dataclass(value):
            changed[field.name] = map_tensors(value, change, *rest)
    return replace(record, **changed)  # type: ignore[type-var]


def select_rows(record: Record, index: Tensor) -> Record:
    """The rows `index` (integers or a mask) of a record."""
    return map_tensors(record, lambda value: value[index])


def scatter_rows(record: Record, index: Tensor, rows: Record) -> Record:
    """The record with its rows `index` (integers) replaced."""
    return map_tensors(record, lambda value, new: value.index_copy(0, index, new.to(value.dtype)), rows)


def scatter_rows_(record: Record, index: Tensor, rows: Record) -> Record:
    """The record, its rows `index` (integers) overwritten in place: for tensors of which there is no other owner."""
    return map_tensors(record, lambda value, new: value.index_copy_(0, index, new), rows)
