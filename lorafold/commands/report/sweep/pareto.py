"""Pareto fronts: what cannot be bettered in one number without losing in the other."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]


def pareto_front(points: Sequence[Point], *, smallest_x: bool) -> list[int]:
    """The points that no other one beats, in the order of x.

    One point beats another if it is at least as good in both numbers and better in one; of equal points all stay.

    Args:
        points: (x, y); the larger y the better.
        smallest_x: whether a smaller x is better, or a larger one.
    """
    sign = 1 if smallest_x else -1
    order = sorted(range(len(points)), key=lambda index: (sign * points[index][0], -points[index][1]))
    front: list[int] = []
    for index in order:
        if not front or points[index][1] > points[front[-1]][1] or points[index] == points[front[-1]]:
            front.append(index)
    return front if smallest_x else front[::-1]
