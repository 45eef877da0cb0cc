"""Pareto fronts against the definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorafold.commands.report.page.chart import pareto_front

SMALL = st.integers(0, 5).map(float)
POINTS = st.lists(st.tuples(SMALL, SMALL), max_size=12)


def beats(first, second, sign):
    """At least as good in both numbers, and not equal."""
    return sign * first[0] <= sign * second[0] and first[1] >= second[1] and first != second


@pytest.mark.parametrize("smallest_x", [True, False])
@given(points=POINTS)
def test_a_point_is_on_the_front_if_no_other_one_beats_it(points, smallest_x):
    sign = 1 if smallest_x else -1
    expected = {i for i, point in enumerate(points) if not any(beats(other, point, sign) for other in points)}
    front = pareto_front(points, smallest_x=smallest_x)
    assert set(front) == expected and len(front) == len(expected)
    assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)
