"""Plain folders on the command line, as Hydra reads them."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from lorafold.cli.arguments import plain_folders, quoted, with_plain_words
from lorafold.commands import COMMANDS


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a", "b c", "chosen=3"], ['runs=["a","b c"]', "chosen=3"]),
        (["hydra.run.dir=x", "a"], ['runs=["a"]', "hydra.run.dir=x"]),
        (["-cn", "mine", "--cfg", "job", "a"], ['runs=["a"]', "-cn", "mine", "--cfg", "job"]),
        (["runs=[a,b]"], ["runs=[a,b]"]),
        ([], []),
    ],
)
def test_what_is_plain(arguments, expected):
    assert plain_folders(arguments, "runs") == expected


@pytest.mark.parametrize(
    ("command", "arguments", "expected"),
    [
        ("reproduce", ["a run", "tolerance=0"], ['run="a run"', "tolerance=0"]),
        ("reproduce", ["tolerance=0", "a"], ["tolerance=0", "a"]),
        ("reproduce", ["--help"], ["--help"]),
        ("report", ["a", "b"], ['runs=["a","b"]']),
        ("merge", ["a", "b"], ["a", "b"]),
    ],
)
def test_the_words_of_every_command(command, arguments, expected):
    assert with_plain_words(COMMANDS[command], arguments) == expected


def test_a_folder_with_a_sign_of_equality_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rank=4,weights=null").mkdir()
    assert plain_folders(["rank=4,weights=null"], "runs") == ['runs=["rank=4,weights=null"]']


@pytest.mark.parametrize(
    "text",
    ["a", "a b", "a,b", "[1]", "it's", 'a"b', "\\", "a\\", 'a\\"b', "${oc.env:HOME}", "é=ü", "{a: b}", "null", "1"],
)
def test_quoted_text_arrives_as_it_is(text):
    override = OverridesParser.create().parse_override(f"runs=[{quoted(text)}]")
    assert OmegaConf.to_container(OmegaConf.create({"runs": override.value()}), resolve=True) == {"runs": [text]}
