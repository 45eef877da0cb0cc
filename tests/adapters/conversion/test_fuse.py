"""Fused layers as their parts and back: the dense rows are the oracle."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lorafold.adapters import Module
from lorafold.adapters.conversion.fuse import fuse, split
from lorafold.adapters.naming import Entry
from lorafold.common.errors import LorafoldError
from tests.adapters.samples import normal, update

LINEAR1 = Entry("single_blocks.0.linear1", ("q", "k", "v", "mlp"), (1, 1, 1, 4))
QKV = Entry("double_blocks.0.img_attn.qkv", ("q", "k", "v"), (1, 1, 1))
FINAL = Entry("final_layer.adaLN_modulation.1", ("norm_out.linear",), halves_swapped=True)


def dense(parts: dict[int, Module], entry: Entry, unit: int, n: int) -> Tensor:
    """Rows of all parts, zeros where one is missing."""
    zeros = [torch.zeros(share * unit, n, dtype=torch.float64) for share in entry.shares]
    return torch.cat([update(parts[j]) if j in parts else zeros[j] for j in range(len(entry.shares))])


@st.composite
def some_parts(draw: st.DrawFn, entry: Entry) -> tuple[dict[int, Module], int, int]:
    """Parts of random ranks and scales, some missing, perhaps with one `down`; and unit and n."""
    unit, n, shared = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.booleans())
    dtype = draw(st.sampled_from([torch.float32, torch.float16]))
    present = draw(st.sets(st.sampled_from(range(len(entry.shares))), min_size=1))
    rank, scale = draw(st.integers(1, 3)), draw(st.sampled_from([1.0, 0.5, -2.0]))
    parts = {}
    for j in sorted(present, key=lambda j: draw(st.integers(0, 9))):
        r, s = (rank, scale) if shared else (draw(st.integers(1, 3)), draw(st.sampled_from([1.0, 0.25, 0.0])))
        down = normal(r, n, dtype=dtype, seed=0 if shared else j)
        parts[j] = Module(f"part{j}", normal(entry.shares[j] * unit, r, dtype=dtype, seed=j + 9), down, s)
    return parts, unit, n


@pytest.mark.parametrize("entry", [QKV, LINEAR1], ids=["qkv", "linear1"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_parts_fused_and_split_again_are_the_same(entry: Entry, data: st.DataObject) -> None:
    parts, unit, n = data.draw(some_parts(entry))
    whole = fuse(parts, entry, None)
    expected = dense(parts, entry, unit, n)
    assert torch.equal(update(whole), expected)
    one_down = len({part.down.numpy().tobytes() for part in parts.values()}) == 1
    if one_down and len({(part.scale, part.rank) for part in parts.values()}) == 1:
        assert whole.rank == next(iter(parts.values())).rank
    else:
        assert whole.rank == sum(part.rank for part in parts.values())
    again = split(whole, entry, None)
    assert torch.equal(dense(again, entry, unit, n), expected)
    assert set(again) <= set(range(len(entry.shares)))


@pytest.mark.parametrize("entry", [QKV, LINEAR1], ids=["qkv", "linear1"])
def test_a_dense_layer_shares_its_down_and_keeps_its_rank(entry: Entry) -> None:
    module = Module("w", normal(2 * sum(entry.shares), 3), normal(3, 4), 0.3)
    parts = split(module, entry, None)
    assert [part.shape[0] for part in parts.values()] == [2 * share for share in entry.shares]
    assert all(part.down is module.down and part.scale == 0.3 for part in parts.values())
    again = fuse(parts, entry, None)
    assert torch.equal(again.up, module.up) and again.down is module.down and again.scale == 0.3


def test_parts_trained_apart_keep_their_own_ranks() -> None:
    parts = {j: Module(f"p{j}", normal(4, r, seed=j), normal(r, 5, seed=j), 1.0) for j, r in enumerate((1, 2, 3))}
    again = split(fuse(parts, QKV, None), QKV, None)
    for j, part in parts.items():
        assert torch.equal(again[j].up, part.up) and torch.equal(again[j].down, part.down)


def test_an_untrained_layer_stays_whole() -> None:
    parts = split(Module("w", torch.zeros(6, 2), normal(2, 5), 1.0), QKV, None)
    assert [part.rank for part in parts.values()] == [2, 2, 2]


def test_halves_change_places_and_back() -> None:
    module = Module("w", normal(6, 2), normal(2, 3), 1.0, bias=normal(6))
    (part,) = split(module, FINAL, None).values()
    shift, scale = update(module).chunk(2)
    assert torch.equal(update(part), torch.cat([scale, shift])) and torch.equal(part.bias[:3], module.bias[3:])
    assert torch.equal(fuse({0: part}, FINAL, None).up, module.up)
    six = Module("w", normal(18, 2), normal(2, 3), 1.0)
    assert split(six, FINAL, None)[0].up is not None and torch.equal(split(six, FINAL, None)[0].up, six.up)


def test_rows_that_do_not_divide_are_refused() -> None:
    with pytest.raises(LorafoldError, match="7 rows, which do not divide as 1:1:1"):
        split(Module("w", normal(7, 2), normal(2, 5), 1.0), QKV, None)


@pytest.mark.parametrize("other", [normal(5, 2), normal(8, 2)], ids=["rows", "more rows"])
def test_parts_that_do_not_fit_are_refused(other: Tensor) -> None:
    part = Module("a", normal(4, 2), normal(2, 5), 1.0)
    with pytest.raises(LorafoldError, match="does not fit a"):
        fuse({0: part, 1: replace(part, name="b", up=other)}, QKV, None)
