"""No number on merging with a few inputs is typed by hand."""

from __future__ import annotations

import json
import re

import few_inputs
import pytest
from few_inputs import DATA, DOCUMENT, METHODS, ROOT, SETS, Answers, figure, score


def test_the_tables_are_those_of_the_answers():
    document = DOCUMENT.read_text(encoding="utf-8")
    assert few_inputs.written(document) == document


def test_a_number_that_was_changed_by_hand_is_seen():
    document = DOCUMENT.read_text(encoding="utf-8")
    assert few_inputs.written(document.replace(".926 / .855", ".936 / .855")) == document


@pytest.mark.parametrize("method", METHODS)
def test_the_readme_says_the_same_of_the_first_set(method):
    answers = Answers(json.loads(DATA.read_text(encoding="utf-8")))
    scores = score(answers.merged(method, 16, SETS[0]) or {}, answers.alone)
    (line,) = re.findall(
        rf"(?m)^\| .*{re.escape(method)}.* \|$", _table((ROOT / "README.md").read_text(encoding="utf-8"))
    )
    assert line.split("|")[4].strip() == " / ".join(map(figure, scores))


def _table(text: str) -> str:
    """The README's table of what merges keep."""
    return text[text.index("| | 16 pairs") :].partition("\n\n")[0]


def test_a_score_is_a_mean_of_ratios_and_the_least():
    answers = Answers({"examples": {"a": 3, "b": 3}, "alone": {"a": "e0", "b": "c0"}, "base": {}, "merged": []})
    merged = {"a": answers.alone["a"] & [True, False, True], "b": answers.alone["b"]}
    assert score(merged, answers.alone) == (pytest.approx((2 / 3 + 1) / 2), pytest.approx(2 / 3))
