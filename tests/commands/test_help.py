"""Help is put together from the settings: each is explained once, at its field, and help leaves none out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest

from lorafold.adapters import FORMATS
from lorafold.commands import COMMANDS
from lorafold.commands.help import Help, help_screen, help_text
from lorafold.commands.merge.config import MergeConfig
from lorafold.common.options import choices
from lorafold.geometry import DISTANCES
from lorafold.pipelines.compare.settings import CompareSettings
from lorafold.pipelines.convert.settings import ConvertSettings
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.scales import SCALES

EVERY = pytest.mark.parametrize("name", COMMANDS)


def text_of(name):
    return help_text(name, COMMANDS[name].config, COMMANDS[name].config.help)


@EVERY
def test_every_setting_is_explained_once_and_listed_once(name):
    lines = text_of(name).split("\nChoices\n")[0].splitlines()
    for field in fields(COMMANDS[name].config):
        assert field.metadata["help"] and field.metadata["group"]
        assert len([line for line in lines if line.startswith(f"  {field.name.ljust(22)} ")]) == 1


@EVERY
def test_it_fits_a_terminal_and_is_plain(name):
    text = text_of(name)
    assert max(map(len, text.splitlines())) <= 80
    assert text.isascii() and text.endswith("\n\nSettings\n$CONFIG\n") and text.count("$") == 1


@EVERY
def test_the_first_help_fits_a_screen_and_says_where_the_rest_is(name):
    text = help_screen(name, COMMANDS[name].config, COMMANDS[name].config.help)
    lines = text.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80 and text.isascii()
    assert lines[-1] == f"lorafold {name} --help-all: all settings, choices and flags"
    assert any(line.startswith(f"  lorafold {name}") for line in lines)


def test_a_setting_on_the_screen_has_its_default():
    lines = help_screen("merge", MergeConfig, MergeConfig.help).splitlines()
    assert "  rank=32                of the merged adapter; max: enough to lose nothing" in lines
    assert any(line.startswith("  overwrite=false        true: replace") for line in lines)
    assert any(line.startswith("  output                 file or folder") for line in lines)


def test_lines_are_as_long_as_they_may_be():
    line = f"lorafold x: {'a' * 30} {'b' * 37}"
    assert help_text("x", ConvertSettings, Help(f"{'a' * 30} {'b' * 37} c", ())).splitlines()[:2] == [line, "c"]


@EVERY
def test_all_words_of_a_setting_arrive(name):
    words = text_of(name).split()
    for field in fields(COMMANDS[name].config):
        said = field.metadata["help"].split()
        assert any(words[start : start + len(said)] == said for start in range(len(words))), field.name


@pytest.mark.parametrize("group", ["objective", "manifold", "solver", "core", "method", "sweep"])
def test_the_values_of_a_choice_are_listed(group):
    listed = " ".join(text_of("merge").split("\nChoices\n")[1].split())
    assert f"{group} {', '.join(choices(group))}" in listed


@pytest.mark.parametrize(
    ("kind", "setting", "names"),
    [
        (MergeSettings, "scale", SCALES),
        (CompareSettings, "distances", DISTANCES),
        (ConvertSettings, "format", FORMATS),
    ],
    ids=["scales", "distances", "formats"],
)
def test_names_in_a_text_are_those_that_there_are(kind, setting, names):
    (text,) = (field.metadata["help"] for field in fields(kind) if field.name == setting)
    missing = [name for name in names if name not in text.replace(",", " ").split()]
    assert missing == []


def test_help_needs_no_torch_and_no_hydra():
    code = (
        "import sys\nfrom lorafold.commands import COMMANDS\nfrom lorafold.commands.help import help_text\n"
        "for name, command in COMMANDS.items(): help_text(name, command.config, command.config.help)\n"
        "assert not {'torch', 'hydra', 'rich'} & set(sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")
