"""No number on whole models is typed by hand."""

from __future__ import annotations

import json

import whole_models
from whole_models import DATA, DOCUMENT, table


def test_the_table_is_that_of_the_measurements() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert whole_models.written(document) == document


def test_what_was_missed_comes_first() -> None:
    result = json.loads(DATA.read_text(encoding="utf-8"))
    result["cases"]["llama"]["dense"]["excess"] = 0.02
    assert table(result).startswith(
        "Missed: "
    ) and "its error 2.00 % above the optimum at most, in those compared, wanted 1 %" in table(result)
