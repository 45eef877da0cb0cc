"""Which settings differ, and how they read."""

from __future__ import annotations

import pytest

from lorafold.commands.report.sweep.differing import differing, flat, order, values, words


def test_a_choice_reads_as_its_name_and_its_options():
    config = {"rank": 4, "objective": {"name": "phi", "power": 2}, "module_weights": {"up": [1, 0]}}
    expected = {"rank": 4, "objective": "phi", "objective.power": 2, "module_weights": {"up": [1, 0]}}
    assert flat(config) == expected


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([{"rank": 4}, {"rank": 8}], ["rank"]),
        ([{"rank": 4}, {"rank": 4}], []),
        ([{"weights": [1, 0]}, {"weights": None}], ["weights"]),
        ([{"rank": 4}, {"scale": 1}], []),  # of another version: neither differs
        ([{"objective": "phi", "objective.d": 1}, {"objective": "chordal", "objective.d": 2}], ["objective"]),
        ([{"objective": "phi", "objective.d": 1}, {"objective": "phi", "objective.d": 2}], ["objective.d"]),
        ([{"output": "a", "page": True, "threads": 1}, {"output": "b", "page": False, "threads": 2}], []),
        ([{"rank": 4}], []),
        ([], []),
    ],
    ids=["differs", "same", "null", "absent", "follows", "option", "of no concern", "one run", "none"],
)
def test_what_differs(runs, expected):
    assert differing(runs) == expected


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("weights", [0.7, 0.3], "0.7, 0.3"),
        ("weights", None, "null"),
        ("rank", 8, "8"),
        ("rank", "max", "max"),
        ("scale", 0.30000000000000004, "0.3"),
        ("balance", True, "true"),
        ("adapters", ["/a/ink.safetensors", "/b/clay"], "ink + clay"),
        ("module_weights", {"up": [1, 0]}, '{"up": [1, 0]}'),
    ],
)
def test_words(key, value, text):
    assert words(key, value) == text


@pytest.mark.parametrize(("value", "by"), [(8, 8), ("max", "max"), ([0.7, 0.3], 0.7), ([], "[]"), (None, None)])
def test_order(value, by):
    assert order(value) == by


def test_values_are_sorted_by_size():
    runs = [{"rank": rank} for rank in (16, 4, "max", 8, 4)]
    assert values("rank", runs) == ["4", "8", "16", "max"]
