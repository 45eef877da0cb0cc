"""lorafold from Python: its names, settings by keyword, and what a person sees of its values."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import pytest

import lorafold
from tests.builders import DEMO
from tests.builders import one_thread as one_thread

VERBS = ("align", "compare", "convert", "inspect", "merge", "resize")
ONE = ("convert", "inspect", "resize")  # those that take one adapter


def settings_of(verb):
    return getattr(lorafold, f"{verb.title()}Settings")


def test_every_name_is_there_for_readers_completion_and_type_checkers():
    """Three lists in one file: what a type checker imports, what a star imports, and where a name is found."""
    (block,) = (node for node in ast.parse(Path(lorafold.__file__).read_text("utf-8")).body if isinstance(node, ast.If))
    imported = {alias.name: node.module for node in block.body for alias in node.names}
    assert imported == lorafold._HOMES
    assert lorafold.__all__ == dir(lorafold) == sorted([*imported, "__version__"])
    assert all(inspect.getdoc(getattr(lorafold, name)) for name in imported)
    assert all(f"{verb.title()}{kind}" in imported for verb in VERBS for kind in ("Settings", "Result"))
    with pytest.raises(AttributeError, match="no attribute 'merg'"):
        _ = lorafold.merg


@pytest.mark.parametrize("verb", VERBS)
def test_keywords_are_the_settings(verb):
    """A type checker reads the keywords, `merge` the fields: of the same names and types."""
    options = getattr(import_module(f"lorafold.pipelines.{verb}.settings"), f"{verb.title()}Options")
    keywords, settings = get_type_hints(options), get_type_hints(settings_of(verb))
    assert list(keywords.items()) == [(field.name, settings[field.name]) for field in fields(settings_of(verb))]
    assert not options.__required_keys__
    assert inspect.signature(getattr(lorafold, verb)).parameters["changes"].annotation == f"Unpack[{options.__name__}]"


@pytest.mark.parametrize("verb", VERBS)
def test_help_explains_every_setting(verb):
    text = inspect.getdoc(settings_of(verb)).split("Args:\n")[1]
    assert [line.split(":")[0].strip() for line in text.splitlines()] == [f.name for f in fields(settings_of(verb))]
    assert f"help(lorafold.{verb.title()}Settings)" in inspect.getdoc(getattr(lorafold, verb))


@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_keyword_is_named_with_the_right_one(verb):
    adapters = DEMO[0] if verb in ONE else DEMO
    with pytest.raises(lorafold.LorafoldError, match=r"^unknown setting 'imput_rank'\. Did you mean 'input_rank'\?$"):
        getattr(lorafold, verb)(adapters, imput_rank=3)
    with pytest.raises(lorafold.LorafoldError, match=r"^unknown setting 'xyz'\. The settings are .*input_rank"):
        getattr(lorafold, verb)(adapters, settings_of(verb)(), xyz=3)
    with pytest.raises(lorafold.LorafoldError, match=rf"^settings of type int, expected {verb.title()}Settings\."):
        getattr(lorafold, verb)(adapters, 3)


def test_so_is_one_of_a_recipe():
    with pytest.raises(lorafold.LorafoldError, match=r"^unknown setting 'weight'\. Did you mean 'weights'\?$"):
        lorafold.recipe("ctm", weight=[1, 2])


def test_settings_and_keywords_together():
    """What a keyword says counts, and the rest is as in the settings."""
    result = lorafold.resize(DEMO[0], lorafold.ResizeSettings(rank=2, parameters=0.5), parameters=None)
    assert {module.rank for module in result.adapter.modules.values()} == {2}
