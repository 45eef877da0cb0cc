"""Choices, their options from conf/, and the check of option types."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from lorafold.common.errors import LorafoldError
from lorafold.common.options import CONF, check_options, choice, choices

GROUPS = ("objective", "manifold", "solver", "core")
FILES = sorted(path for group in GROUPS for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_file_is_named_after_itself_and_has_plain_options(path):
    options = yaml.safe_load(path.read_text())
    assert options["name"] == path.stem
    # the text "1e-6" is what YAML makes of a number without a dot
    assert all(not isinstance(value, str) or value.isidentifier() for value in options.values())
    assert path.stem in choices(path.parent.name)


def test_a_name_is_completed_from_its_file():
    assert choice("objective", "phi") == {
        "name": "phi",
        "distance": "phi",
        "reconstruction": "mean",
        "rescale": 0.0,
        "directions": "all",
    }


def test_given_options_win_over_the_file():
    full = choice("solver", {"name": "alternating", "tol": 0.5})
    assert full["tol"] == 0.5
    assert full["max_sweeps"] == yaml.safe_load((CONF / "solver/alternating.yaml").read_text())["max_sweeps"]


def test_a_choice_is_the_callers_own_copy():
    choice("solver", "alternating")["tol"] = 99.0
    assert choice("solver", "alternating")["tol"] != 99.0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("chrodal", r"unknown objective 'chrodal'.*chordal, fubini_study, geodesic.*Did you mean 'chordal'\?"),
        ({"name": "phi", "distanse": "phi"}, r"unknown option objective\.distanse.*Did you mean 'distance'\?"),
        ({"distance": "phi"}, "expected a name or a mapping with a name"),
        ({"name": None}, "expected a name or a mapping with a name"),
        (3, "objective=3, expected a name"),
        ("../core/sum", "unknown objective"),
        ("", "unknown objective ''"),
    ],
)
def test_mistakes_in_a_choice_are_named(value, message):
    with pytest.raises(LorafoldError, match=message):
        choice("objective", value)


def solve(problem, steps, *, tol: float, max_steps: int, label: str = "", cap: int | None = None, fast: bool = False):
    """Stands for a solver: what `check_options` looks at are the keyword-only parameters."""


@pytest.mark.parametrize(
    ("options", "checked"),
    [
        ({"tol": 1e-3}, {"tol": 1e-3}),
        ({"tol": 1}, {"tol": 1.0}),
        ({"tol": "1e-6"}, {"tol": 1e-6}),
        ({"name": "x", "max_steps": 5}, {"max_steps": 5}),
        ({"cap": None, "fast": True}, {"cap": None, "fast": True}),
        ({"label": "1e-6"}, {"label": "1e-6"}),
    ],
)
def test_options_become_keyword_arguments(options, checked):
    result = check_options(solve, options)
    assert result == checked
    assert [type(value) for value in result.values()] == [type(value) for value in checked.values()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tol": "small"}, "tol='small', expected a number"),
        ({"tol": True}, "tol=True, expected a number"),
        ({"tol": None}, "tol=None, expected a number"),
        ({"max_steps": 2.5}, "max_steps=2.5, expected a whole number"),
        ({"max_steps": True}, "max_steps=True, expected a whole number"),
        ({"cap": "none"}, "cap='none', expected a whole number or null"),
        ({"fast": 1}, "fast=1, expected true or false"),
        ({"max_step": 3}, r"unknown option max_step.*Did you mean 'max_steps'\?"),
        ({"steps": 3}, "unknown option steps"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(LorafoldError, match=message):
        check_options(solve, options)


def test_annotations_may_be_types_as_well_as_text():
    def typed(*, count, share):
        pass

    typed.__annotations__ = {"count": int, "share": int | float | str}
    assert check_options(typed, {"count": 2, "share": "all"}) == {"count": 2, "share": "all"}


def test_neither_torch_nor_hydra_is_imported():
    check = "import lorafold.common.options, sys; sys.exit(bool({'torch', 'hydra', 'omegaconf'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
