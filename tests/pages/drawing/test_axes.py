"""Ticks and places of axes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorafold.pages.drawing.axes import Sheet, linear, logarithmic
from lorafold.pages.drawing.shapes import text_width

VALUES = st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.55, 0.81], [0.5, 0.6, 0.7, 0.8, 0.9]),
        ([0.02, 0.98], [0, 0.25, 0.5, 0.75, 1]),
        ([-1, 1], [-1, -0.5, 0, 0.5, 1]),
        ([0.0], [0, 0.025, 0.05]),
    ],
)
def test_round_ticks(values, ticks):
    assert linear(values, "x", 4).ticks == pytest.approx(ticks, abs=1e-12)


@given(values=VALUES)
def test_every_value_lies_inside(values):
    axis = linear(values, "x", 4)
    assert 2 <= len(axis.ticks) <= 12
    assert all(-1e-6 <= axis.share(value) <= 1 + 1e-6 for value in values)


def test_labels_of_a_logarithmic_axis_keep_apart():
    axis = logarithmic([2.0**power for power in range(30)], "x", str, 400)
    ends = [(400 * axis.share(tick), text_width(str(tick), 11.5) / 2) for tick in axis.ticks]
    assert len(ends) > 3
    assert all(x + half < next_x - next_half for (x, half), (next_x, next_half) in pairwise(ends))


def test_up_is_up():
    sheet = Sheet(400, 300, linear([0, 1], "x", 4), linear([0, 1], "y", 4))
    (left, bottom), (right, top) = sheet.at(0, 0), sheet.at(1, 1)
    assert left < right and top < bottom
