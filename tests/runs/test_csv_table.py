"""Tables for spreadsheets: no text is a formula, whichever command writes it, and numbers stay numbers."""

from __future__ import annotations

import csv

import pytest

from lorafold.adapters import save
from lorafold.commands.compare.config import CompareConfig
from lorafold.commands.compare.run import compare
from lorafold.commands.inspect.config import InspectConfig
from lorafold.commands.inspect.run import inspect
from lorafold.runs.csv_table import write_csv
from lorafold.runs.run import Run
from tests.builders import random_adapter


def cells(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_text_that_could_be_a_formula_begins_with_an_apostrophe(text, tmp_path):
    write_csv(tmp_path / "a.csv", [text, "plain"], [[text, "a=b"]])
    assert cells(tmp_path / "a.csv") == [[f"'{text}", "plain"], [f"'{text}", "a=b"]]


def test_numbers_stay_numbers_and_nothing_is_empty(tmp_path):
    write_csv(tmp_path / "a.csv", ["a", "b", "c", "d"], [[-1.5, -2, None, True]])
    assert cells(tmp_path / "a.csv")[1] == ["-1.5", "-2", "", "True"]


@pytest.mark.parametrize(
    ("command", "config"), [(compare, CompareConfig), (inspect, InspectConfig)], ids=["compare", "inspect"]
)
def test_names_of_layers_are_no_formulas(command, config, tmp_path):
    """As a PEFT file may call them."""
    for seed, name in enumerate("ab"):
        save(random_adapter("peft", {"=cmd|' /C calc'!A0.q_proj": (6, 5)}, 2, seed=seed), tmp_path / name)
    extra = {"csv": True} if config is InspectConfig else {"page": False}
    command(Run(tmp_path, tmp_path, alone=False), config(adapters=["a", "b"], **extra))
    names = [line[line.index("'=cmd|' /C calc'!A0.q_proj")] for line in cells(tmp_path / "modules.csv")[1:]]
    assert names
