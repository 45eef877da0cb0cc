"""The command as a user runs it: in a process of its own, in a directory of its own."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import hydra
import pytest

import lorafold
from lorafold.adapters import load
from lorafold.cli import app
from lorafold.cli.app import main
from lorafold.commands import COMMANDS
from lorafold.common.options import choices
from lorafold.runs.run import DEMO_SAID
from tests.command_lines import lorafold as run
from tests.command_lines import python

# The demo pair in about a second; with one thread, for two of them wait for each other on a busy machine.
QUICK = ("solver=alternating", "threads=1")


def runs_in(folder):
    return sorted(path.parent for path in Path(folder).rglob("metrics.json"))


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    """A merge of the demo pair: the finished process, and the folder that it left."""
    cwd = tmp_path_factory.mktemp("merge")
    process = run("merge", *QUICK, "rank=4", cwd=cwd)
    assert process.returncode == 0, process.stderr
    (folder,) = runs_in(cwd)
    return process, folder


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Three merges, the second of which cannot work."""
    cwd = tmp_path_factory.mktemp("sweep")
    return run("merge", *QUICK, "rank=2,0,3", "-m", cwd=cwd), cwd


def test_a_merge_leaves_an_adapter_and_its_record(merged):
    _, folder = merged
    adapter = load(folder / "merged")
    assert {module.rank for module in adapter.modules.values()} == {4}
    assert folder.relative_to(folder.parents[3]).parts[:2] == ("outputs", "merge")
    assert {path.name for path in folder.iterdir()} == {
        ".hydra",
        "merge.log",
        "merged",
        "metrics.json",
        "overlap.html",
        "resolved.yaml",
    }


def test_a_merge_prints_a_table_and_nothing_else(merged):
    process, folder = merged
    lines = process.stdout.splitlines()
    assert any(line.startswith("layer 5") for line in lines)
    here = folder.relative_to(folder.parents[3])
    assert lines[-3:] == [
        f"overlap before and after: {here}/overlap.html",
        f'PEFT: PeftModel.from_pretrained(model, "{here}/merged")',
        f"merged adapter: {here}/merged",
    ]
    assert max(map(len, lines[:15])) <= 80
    assert "\x1b" not in process.stdout  # no colours in a pipe
    assert process.stderr == ""


def test_the_record_says_what_was_merged_with_what(merged):
    content = json.loads((merged[1] / "metrics.json").read_text())
    assert [Path(entry["path"]).name for entry in content["inputs"]] == ["dnoun", "dmovie"]
    assert all(len(entry["sha256"]) == 64 for entry in content["inputs"])
    assert len(content["modules"]) == content["summary"]["modules"] == 36
    assert content["config"]["threads"] == content["environment"]["threads"] == 1
    assert content["environment"]["overrides"] == [*QUICK, "rank=4"]
    assert content["summary"]["seconds"]["total"] >= content["summary"]["seconds"]["write"] > 0


def test_a_repetition_is_identical_to_the_byte(merged, tmp_path):
    _, folder = merged
    process = run("merge", "-cd", str(folder), "-cn", "resolved", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    (again,) = runs_in(tmp_path)
    assert (again / "merge.log").exists()
    for path in (folder / "merged").iterdir():
        assert (again / "merged" / path.name).read_bytes() == path.read_bytes()


def test_a_sweep_runs_every_combination_that_can_work(sweep):
    process, cwd = sweep
    ranks = [json.loads((folder / "metrics.json").read_text())["config"]["rank"] for folder in runs_in(cwd)]
    assert ranks == [2, 3]
    assert len([line for line in process.stdout.splitlines() if "converged" in line]) == 2


def test_a_sweep_with_a_failure_fails_after_the_others(sweep):
    process, _ = sweep
    assert process.returncode == 1
    assert "lorafold: error: rank=0" in process.stderr
    assert "Traceback" not in process.stderr


def one_line_error(process, cwd):
    """The only line that a mistake prints; nothing but the log of the attempt is left."""
    assert process.returncode == 1
    assert process.stdout in ("", f"{DEMO_SAID}\n")  # which pair it is about
    (line,) = process.stderr.splitlines()
    left = {path.name for path in cwd.rglob("*") if path.is_file() and path.parent.name != ".hydra"}
    assert left <= {"merge.log"}
    return line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mrege"], ["unknown command 'mrege'", "Did you mean 'merge'?"]),
        (["rank=8"], ["unknown command 'rank=8'", "The commands are: merge"]),
        (["merge", "rnak=8"], ["unknown setting 'rnak'", "Did you mean 'rank'?"]),
        (["merge", "solver.tolerance=1"], ["unknown setting 'solver.tolerance'", "tol"]),
        (["merge", "objective=chrodal"], ["unknown objective 'chrodal'", "phi", "Did you mean 'chordal'?"]),
        (["merge", "scale=big"], ["scale='big'", "a finite number or one of each"]),
        (["merge", "input_rank=big"], ["input_rank=big", "Integer"]),
        (["merge", "method=ctn"], ["unknown method 'ctn'", "Did you mean 'ctm'?"]),
        (
            ["merge", "module_weights={nope: [1,0]}"],
            ["module_weights['nope'] matches none of 36 modules"],
        ),
        (["merge", "adapters=[a (1).safetensors]"], ["a (1).safetensors: no such file"]),
        (["merge", "seed=a (1)"], ["cannot read", "in quotes twice"]),
        (["merge", "module_weights={layer.[0-3]: [1,0]}"], ["cannot read", "a backslash before each bracket"]),
        (["merge", "adapters=a,b"], ["several values", "'adapters=[a,b]'"]),
        (["merge", "-cn", "nope"], ["nope"]),
        (["merge", "adapters=[nope.safetensors,b]"], ["nope.safetensors: no such file"]),
        (["merge", "rank=0"], ["rank=0"]),
    ],
    ids=lambda value: " ".join(value) if "merge" in value[0] else None,
)
def test_a_mistake_is_one_line(warm, arguments, words, tmp_path):
    line = one_line_error(warm.piped(*arguments, cwd=tmp_path), tmp_path)
    assert line.startswith("lorafold: error: ")
    assert all(word in line for word in words)


def test_hydras_own_report_is_there_for_those_who_want_it(tmp_path):
    assert "Traceback" in run("merge", "rnak=8", cwd=tmp_path, HYDRA_FULL_ERROR="1").stderr


CHOICES = [name for group in ("objective", "manifold", "solver", "core", "method") for name in choices(group)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["usage: lorafold COMMAND"]),
        (["merge", "--help"], ["weights", "rank=32", "--help-all"]),
        (["merge", "--help-all"], ["weights", "subspace_weight", *CHOICES, "rank: 32"]),
        (["merge", "--cfg", "job"], ["max_steps:"]),
    ],
    ids=" ".join,
)
def test_help_is_answered_without_torch(arguments, words, tmp_path):
    script = (
        "import sys\nfrom lorafold.cli.app import main\nsys.argv = ['lorafold', *sys.argv[1:]]\n"
        "try: main()\nfinally: assert not {'torch', 'geoopt'} & set(sys.modules)"
    )
    process = python("-c", script, *arguments, cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert all(word in process.stdout for word in words)
    assert max(map(len, process.stdout.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
def test_a_sweeps_flag_may_stand_anywhere(flag, monkeypatch):
    """Hydra takes no settings on both sides of a flag."""
    asked = []
    monkeypatch.setattr(hydra, "main", lambda **_: lambda task: lambda: asked.append(sys.argv))
    monkeypatch.setattr(sys, "argv", ["lorafold", "merge", "rank=2,3", flag, "seed=1"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    main()
    assert asked == [["lorafold merge", flag, "rank=2,3", "seed=1"]]


@pytest.mark.parametrize("arguments", [["--version"], ["-V"], ["version"], ["merge", "--version"]], ids=" ".join)
def test_the_version(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lorafold", *arguments])
    main()
    assert capsys.readouterr().out == f"lorafold {lorafold.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["help"], ["-h"], ["--help-all"]], ids=" ".join)
def test_the_commands_are_listed(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lorafold", *arguments])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("usage: lorafold COMMAND")
    assert [name for name in COMMANDS if not any(line.split()[:1] == [name] for line in lines)] == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "lorafold me",
            "merge distill compare align inspect calibrate resize convert extract fuse reproduce report ui",
        ),
        ("lorafold merge obj", "objective. objective="),
        ("lorafold merge rank=4 objective=p", "objective=phi objective=procrustes"),
        ("lorafold merge a.safetensors my\\ b.safetensors rank=4 obj", "objective. objective="),
    ],
)
def test_shells_complete_commands_and_settings(line, words, tmp_path):
    assert run("-sc", "query=bash", cwd=tmp_path, COMP_LINE=line).stdout.strip() == words


def test_the_console_script_is_the_same_program(tmp_path):
    script = shutil.which("lorafold", path=str(Path(sys.executable).parent))
    if script is None:
        pytest.skip("lorafold is not installed here")
    (entry,) = entry_points(group="console_scripts", name="lorafold")
    assert entry.value == "lorafold.cli.app:main"
    process = subprocess.run((script, "--version"), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert process.stdout == run("--version", cwd=tmp_path).stdout


def test_garbage_waits_until_all_is_imported(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lorafold", "--version"])
    monkeypatch.setattr(app, "_answer", lambda line: print(gc.isenabled()))
    main()
    assert capsys.readouterr().out == "False\n"
    assert gc.isenabled()


def test_a_run_collects_garbage_that_is_its_own():
    gc.disable()
    try:
        app._collect_garbage()
        assert gc.isenabled() and gc.get_freeze_count()
    finally:
        gc.unfreeze()
        gc.enable()
