"""How runs end that cannot go on, as their user sees it: one line, a status, and nothing left behind."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tomllib
from errno import EINVAL
from pathlib import Path

import pytest

from lorafold.adapters import save
from lorafold.cli import exit_status
from tests.builders import random_adapter
from tests.cli.test_app import QUICK, runs_in
from tests.command_lines import lorafold as run
from tests.command_lines import refused

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path):
    """Two small adapters, and a file."""
    for seed, name in enumerate("ab"):
        save(random_adapter("kohya", {"lora_unet_q": (40, 30)}, 4, seed=seed), tmp_path / f"{name}.safetensors")
    (tmp_path / "file").touch()
    return tmp_path


PAIR = ("adapters=[a.safetensors,b.safetensors]", *QUICK, "rank=2", "page=false")


@pytest.mark.parametrize(
    "arguments",
    [("rank=0",), ("hydra.run.dir=new/folder", "adapters=[nope.safetensors,b.safetensors]"), ("output=",)],
    ids=" ".join,
)
def test_a_refused_run_leaves_no_folder(arguments, here):
    before = sorted(here.rglob("*"))
    refused(run("merge", *PAIR, *arguments, cwd=here))
    assert sorted(here.rglob("*")) == before


def test_where_no_folder_can_be_made_the_place_can_be_changed(here):
    line = refused(run("inspect", "hydra.run.dir=file/run", cwd=here))
    assert (
        line == "file/run cannot be made or written to (Not a directory). Choose another place: hydra.run.dir=FOLDER."
    )


def test_what_exists_is_kept_until_overwrite_is_true(here):
    wanted = ("merge", *PAIR, "output=out.safetensors", "hydra.run.dir=run")
    assert run(*wanted, cwd=here).returncode == 0
    first = (here / "out.safetensors").read_bytes()
    assert refused(run(*wanted, cwd=here)).startswith("run holds a run already (metrics.json). Write overwrite=true")
    line = refused(run("resize", "adapters=a.safetensors", "rank=1", "output=out.safetensors", cwd=here))
    assert line == f"{here / 'out.safetensors'}: exists already. Write overwrite=true, or choose another output."
    assert not (here / "outputs").exists()
    assert (here / "out.safetensors").read_bytes() == first
    assert run(*wanted, "rank=1", "overwrite=true", cwd=here).returncode == 0
    assert (here / "out.safetensors").read_bytes() != first
    failing = run(*wanted, "rank=0", "overwrite=true", cwd=here)
    assert failing.returncode == 1 and (here / "run" / "metrics.json").exists()


DEFECT = """
def judge(adapter):
    if "/1/" in adapter.replace("\\\\", "/") and not __import__("os").path.exists("mended"):
        raise ZeroDivisionError("by zero")
    return 1.0
"""


def test_a_sweep_survives_a_defect_and_is_repeated_if_asked_for(here):
    (here / "mine.py").write_text(DEFECT)
    sweep = ("merge", "-m", *PAIR, "rank=1,2,3", "evaluator=mine:judge", "hydra.sweep.dir=sweep")
    process = run(*sweep, cwd=here)
    assert process.returncode == 1 and "Traceback" not in process.stderr
    assert process.stderr.splitlines()[-1].endswith("1 of 3 runs failed in sweep: 1: ZeroDivisionError: by zero")
    assert [folder.name for folder in runs_in(here / "sweep")] == ["0", "2"]
    assert (here / "sweep" / "1" / "error.txt").read_text().startswith("Traceback")
    assert refused(run(*sweep, cwd=here)).startswith("sweep holds a run already (")
    (here / "mended").touch()
    assert run(*sweep, "overwrite=true", cwd=here).returncode == 0
    assert [folder.name for folder in runs_in(here / "sweep")] == ["0", "1", "2"]
    assert not list(here.rglob("error.txt"))


def test_one_output_for_all_runs_of_a_sweep_is_refused_and_one_for_each_is_not(here):
    line = refused(run("merge", "-m", *PAIR, "rank=1,2", "output=out.safetensors", cwd=here))
    assert line.startswith("output='out.safetensors' in a sweep, where every run would write it.")
    process = run("merge", "-m", *PAIR, "rank=1,2", "output=r${rank}.safetensors", cwd=here)
    assert process.returncode == 0, process.stderr
    assert {path.name for path in here.glob("r*.safetensors")} == {"r1.safetensors", "r2.safetensors"}


CUT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "lorafold", *sys.argv[1:]], stdout=subprocess.PIPE)
child.stdout.close()
sys.exit(child.wait())
"""


@pytest.mark.parametrize("line", [["--help"], ["merge", "--help"], ["inspect"]], ids=" ".join)
def test_a_reader_that_leaves_is_no_mistake(line, tmp_path):
    """As `| head` does, but before the first line."""
    process = subprocess.run(
        [sys.executable, "-c", CUT, *line], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stderr) == (141, "")


INTERRUPTED = """
import builtins, runpy, signal, sys
real, module = __import__, sys.argv[1]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has none

def find(name, *arguments, **options):
    if name == module:
        signal.raise_signal(signal.SIGINT)
    return real(name, *arguments, **options)

builtins.__import__ = find
sys.argv = ["lorafold", "merge"]
runpy.run_module("lorafold", run_name="__main__", alter_sys=False)
"""


@pytest.mark.parametrize("module", ["lorafold.cli.app", "hydra", "torch"])
def test_ctrl_c_while_modules_are_imported(module, tmp_path):
    command = [sys.executable, "-c", INTERRUPTED, module]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 130
    assert process.stderr == "lorafold: interrupted; an output is there as a whole or not at all\n"


WITHOUT = """
import runpy, sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
sys.argv = ["lorafold", *sys.argv[2:]]
runpy.run_module("lorafold", run_name="__main__", alter_sys=False)
"""


@pytest.mark.parametrize("missing", ["hydra", "yaml", "geoopt,torch"])
def test_a_checkout_that_was_not_installed_says_what_to_run(missing, tmp_path):
    command = [sys.executable, "-c", WITHOUT, missing, "merge"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    line = refused(process)
    assert line.startswith(f"lorafold needs packages that are not installed: {missing.replace(',', ', ')}. Run pip ")
    assert line.endswith(f"pip install -e . in {CHECKOUT}")


def test_the_packages_that_are_looked_for_are_those_of_pyproject_toml():
    declared = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    imported = {"hydra-core": "hydra", "pyyaml": "yaml"}
    names = [re.match(r"[\w-]+", requirement)[0] for requirement in declared]
    assert sorted(imported.get(name, name) for name in names) == sorted(exit_status.REQUIRED)


@pytest.mark.parametrize("group", ["core", "method", "solver"])
def test_a_choice_that_is_null_is_a_mistake(warm, group, tmp_path):
    line = refused(warm.piped("merge", f"{group}=null", cwd=tmp_path))
    assert line.startswith("a choice (core, ") and line.endswith("cannot be null. Leave it out for the default")


def test_a_home_that_is_nobodys_is_a_mistake(here):
    line = refused(run("resize", "adapters=a.safetensors", "rank=2", 'output="~nobody-at-all/x"', cwd=here))
    assert line.startswith("~nobody-at-all/x: begins with ~, and there is no such home folder")


def test_windows_says_otherwise_that_the_reader_of_a_pipe_has_left(monkeypatch):
    class Closed(io.StringIO):
        def flush(self):
            raise OSError(EINVAL, "Invalid argument")

    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(OSError, match="Invalid argument"), exit_status.ends_as_programs_do():
        pass
    monkeypatch.setattr(exit_status.os, "name", "nt")
    with pytest.raises(SystemExit, match="141"), exit_status.ends_as_programs_do():
        pass
