"""The user's own judge of merged adapters."""

from __future__ import annotations

import sys

import pytest

from lorafold.common.errors import LorafoldError
from lorafold.runs.evaluator import evaluate, find_evaluator


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_judge_of_lora.py").write_text("NUMBER = 3\ndef judge(path):\n    return {'length': len(path)}\n")
    yield tmp_path
    sys.modules.pop("my_judge_of_lora", None)


def test_a_module_beside_the_user_is_found_and_called_with_the_path(here):
    assert evaluate(find_evaluator("my_judge_of_lora:judge", here), here) == {"length": len(str(here))}


@pytest.mark.parametrize(
    "name",
    ["nowhere_to_be_found:judge", "my_judge_of_lora:jugde", "my_judge_of_lora:NUMBER", "my_judge_of_lora", ":x", ""],
)
def test_what_cannot_be_called_is_refused(here, name):
    with pytest.raises(LorafoldError, match="evaluator="):
        find_evaluator(name, here)


@pytest.mark.parametrize(
    ("returned", "expected"), [(0.5, {"value": 0.5}), (2, {"value": 2.0}), ({"a": 1, "b": 2.5}, {"a": 1.0, "b": 2.5})]
)
def test_numbers_get_names(returned, expected, tmp_path):
    assert evaluate(lambda _: returned, tmp_path) == expected


@pytest.mark.parametrize("returned", [None, "good", {"a": None}, {"a": [1]}, [1, 2]], ids=str)
def test_anything_but_numbers_is_refused(returned, tmp_path):
    with pytest.raises(LorafoldError, match="the evaluator returned"):
        evaluate(lambda _: returned, tmp_path)
