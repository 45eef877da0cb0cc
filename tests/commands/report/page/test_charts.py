"""The border of a Pareto front."""

from __future__ import annotations

import pytest

from lorafold.commands.report.page.charts import _staircase

RISING = [(1.0, 0.2), (2.0, 0.5), (4.0, 0.6)]  # costs more, does better
FALLING = [(0.2, 0.9), (0.5, 0.6), (0.6, 0.1)]  # one quality for another


@pytest.mark.parametrize(("points", "smallest_x"), [(RISING, True), (FALLING, False)])
def test_corners_are_no_better_than_their_neighbours_and_lines_are_level_or_upright(points, smallest_x):
    corners = _staircase(points, smallest_x=smallest_x)
    assert corners[::2] == points and len(corners) == 5
    for (x, y), corner, (next_x, next_y) in zip(corners[:-2:2], corners[1::2], corners[2::2], strict=True):
        for one in ((x, y), (next_x, next_y)):
            assert one[1] >= corner[1] and (one[0] <= corner[0] if smallest_x else one[0] >= corner[0])
            assert one[0] == corner[0] or one[1] == corner[1]


def test_of_no_runs_there_is_none():
    assert _staircase([], smallest_x=True) == []
