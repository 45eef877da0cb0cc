"""What people type, as Hydra reads it."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from lorafold.cli.arguments import quoted, to_overrides
from lorafold.commands import COMMANDS
from lorafold.common.errors import LorafoldError


def overrides(line, command="merge"):
    words = line.split("|")
    return to_overrides(command, COMMANDS[command], words)


@pytest.mark.parametrize(
    ("command", "line", "expected"),
    [
        ("merge", "a|b c|rank=3", ['adapters=["a","b c"]', "rank=3"]),
        ("merge", "adapters=[a,b]|-m|rank=8,16", ["-m", 'adapters=["a","b"]', "rank=8,16"]),
        ("merge", "-m|adapters=[a,b],[a,c]", ["-m", 'adapters=["a","b"],["a","c"]']),
        ("merge", "-m|output=a,b", ["-m", "output=a,b"]),
        ("merge", "output=a, (b)", ['output="a, (b)"']),
        ("merge", "output=null|base=${oc.env:X}", ["output=null", "base=${oc.env:X}"]),
        ("merge", "calibration=[a (1).x,null]", ['calibration=["a (1).x",null]']),
        ("merge", "weights=[1,0]|solver.tol=1e-3|+x=1|~core", ["weights=[1,0]", "solver.tol=1e-3", "+x=1", "~core"]),
        ("merge", "--rank|16|--core-rank=max|--solver.tol|1e-3", ["rank=16", "core_rank=max", "solver.tol=1e-3"]),
        ("merge", "--weights|0.7|-0.3|a|b", ['adapters=["a","b"]', "weights=[0.7,-0.3]"]),
        ("merge", "--adapters|a|b|--no-page|-o|x y", ['adapters=["a","b"]', "page=false", 'output="x y"']),
        ("merge", "weights=[0.7,|0.3]|a|b", ['adapters=["a","b"]', "weights=[0.7, 0.3]"]),
        ("merge", "adapters=[a,|b]|rank=3", ['adapters=["a","b"]', "rank=3"]),
        ("merge", "weights=[0.7,|a|-m", ["-m", 'adapters=["a"]', "weights=[0.7,"]),
        ("merge", "--overwrite|a", ['adapters=["a"]', "overwrite=true"]),
        ("merge", "--page|false|rank=3|-cn|mine|--cfg|job", ["-cn", "mine", "--cfg", "job", "page=false", "rank=3"]),
        ("merge", "rank=3|--|--odd|rank=4", ['adapters=["--odd","rank=4"]', "rank=3"]),
        ("inspect", "~nobody|~/a", ['adapters=["~nobody","~/a"]']),
        ("calibrate", "a|b|inputs=[x y.txt,z.txt]", ['adapters=["a","b"]', 'inputs=["x y.txt","z.txt"]']),
        ("report", "hydra.run.dir=x|a", ['runs=["a"]', "hydra.run.dir=x"]),
        ("report", "runs=[a,b]", ['runs=["a","b"]']),
        ("reproduce", "a run|tolerance=0", ['run="a run"', "tolerance=0"]),
        ("reproduce", "--run|a", ["--run", 'run="a"']),
    ],
)  # fmt: skip
def test_what_hydra_is_given(command, line, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert overrides(line, command) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a|rank|16", "is written KEY=VALUE: rank=16"),
        ("a|rank|=|16", "rank=16"),
        ("a|rank:16", "rank=16"),
        ("a|-r|16", "'16' is no file"),
        ("a|--rank", "--rank without a value"),
        ("a|--rank|output=x", "--rank without a value"),
        ("a|--objectiv|phi", "Did you mean 'objective'?"),
        ("a|--mulitrun", "Did you mean 'multirun'?"),
        ("a|-y", "unknown flag -y"),
        ("adapters=a|b", "Write the names alone: lorafold merge a b"),
        ("a||b", "an empty name"),
    ],
)
def test_what_is_no_setting_is_told_with_the_right_spelling(line, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LorafoldError) as caught:
        overrides(line)
    assert words in str(caught.value)


def test_two_runs_are_too_many_to_reproduce():
    with pytest.raises(LorafoldError, match="expected one run"):
        overrides("a|b", "reproduce")


def test_what_exists_is_a_file_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("v1, final=best", "--odd", "~x", "[a]*", "rank", "16", "rank=4"):
        (tmp_path / name).mkdir()
    assert overrides("v1, final=best|--odd|~x|[a]*|rank|16|rank=4") == [
        'adapters=["v1, final=best","--odd","./~x","[a]*","rank","16"]',
        "rank=4",  # a setting of a merge, and none of a report
    ]
    assert overrides("rank=4", "report") == ['runs=["rank=4"]']
    assert overrides("base=[a]*") == ['base="[a]*"']


def test_patterns_that_no_shell_has_expanded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x1.st", "x2.st", "[x].st"):
        (tmp_path / name).touch()
    assert overrides("x?.st") == ['adapters=["x1.st","x2.st"]']
    assert overrides("[x]*") == ['adapters=["[x].st"]']
    (tmp_path / "~z.st").touch()
    assert overrides("?z.st") == ['adapters=["./~z.st"]']
    assert overrides("[x1].st|y*") == ['adapters=["[x1].st","y*"]']


@pytest.mark.parametrize(
    "text",
    ["a", "a b", "a,b", "[1]", "it's", 'a"b', "\\", "a\\", 'a\\"b', "${oc.env:HOME}", "é=ü", "{a: b}", "null", "1"],
)
def test_quoted_text_arrives_as_it_is(text):
    override = OverridesParser.create().parse_override(f"runs=[{quoted(text)}]")
    assert OmegaConf.to_container(OmegaConf.create({"runs": override.value()}), resolve=True) == {"runs": [text]}
