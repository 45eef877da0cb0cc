"""`lorafold completion`: in real shells, where there are any, and that nothing is written unasked."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys

import pytest

from lorafold.cli.completion import completion
from lorafold.common.errors import LorafoldError
from tests.command_lines import ROOT, environment

PROGRAM = f'lorafold() {{ "{sys.executable}" -m lorafold "$@"; }}\n'
BASH = """
type() { COMP_LINE="$1" COMP_POINT=${#1}; COMPREPLY=(); _lorafold 2>/dev/null; printf '%s|' "${COMPREPLY[@]}"; echo; }
type 'lorafold mer'
type 'lorafold merge my'
type 'lorafold merge a.safetensors objective=ph'
type 'lorafold merge --rank 3 f'
"""
ZSH = """
compdef() { :; }
compadd() { print -r -- ${(P)@[-1]}; }
_files() { :; }
"""


def said_by(shell, script, cwd):
    """What the shell prints, its own start-up files left out."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    quiet = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    command = (shell, *quiet, "-c", script)
    env = environment(HOME=str(cwd))
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False).stdout.splitlines()


def test_bash_completes_commands_settings_values_and_files(tmp_path):
    (tmp_path / "my style.safetensors").touch()
    (tmp_path / "folder").mkdir()
    lines = said_by("bash", PROGRAM + completion(["bash"]) + BASH, tmp_path)
    assert lines == ["merge|", "my\\ style.safetensors|", "phi|", "folder/|"]


def test_zsh_completes(tmp_path):
    script = f"{PROGRAM}{ZSH}{completion(['zsh'])}\nwords=(lorafold merge objective=ph) CURRENT=3\n_lorafold"
    assert said_by("zsh", script, tmp_path) == ["objective=phi"]


def test_fish_completes(tmp_path):
    program = f'function lorafold; "{sys.executable}" -m lorafold $argv; end\n'
    script = f"cd {ROOT}; {program}{completion(['fish'])}\ncomplete -C 'lorafold merge objective=ph'"
    assert said_by("fish", script, tmp_path) == ["objective=phi"]


class Terminal(io.StringIO):
    """A stream that says that it is one."""

    def isatty(self):
        return True


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/fish")
    return tmp_path


def answered(monkeypatch, answer):
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stdout", Terminal())
    return completion(["install"])


LINE = "lorafold completion fish | source"


def test_a_line_is_added_where_the_user_agrees_and_once(home, monkeypatch):
    assert answered(monkeypatch, "\n") == "nothing was written" and not list(home.iterdir())
    file = home / ".config/fish/config.fish"
    assert answered(monkeypatch, "y\n").startswith("added")
    assert file.read_text() == f"\n{LINE}\n"
    assert "has the line already" in answered(monkeypatch, "y\n")
    assert file.read_text() == f"\n{LINE}\n"


def test_in_a_pipe_nothing_is_written(home):
    assert completion(["install", "bash"]).startswith("add this line to ~/.bashrc:\neval ")
    assert not list(home.iterdir())


@pytest.mark.parametrize("words", [[], ["--help"], ["install", "bash", "x"]])
def test_how_it_is_used(words):
    assert completion(words).startswith("usage: lorafold completion install [SHELL]")


@pytest.mark.parametrize("words", [["tcsh"], ["install", "tcsh"]])
def test_a_shell_that_it_does_not_know(words):
    with pytest.raises(LorafoldError, match="bash, zsh, fish"):
        completion(words)
